"""The `chat` wire: Chat Completions over the openai client, streamed. Works on any OpenAI-compatible server."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai
from openai.types.chat import ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import ChoiceDelta

from services.chassis.http import connect
from services.orchestrator.model.endpoint import Endpoint
from services.orchestrator.model.turn import (
    Message,
    ModelIdentity,
    ModelNonsense,
    ModelUnreachable,
    Sampling,
    ToolSpec,
    Turn,
)
from services.wire.events import ToolCall, TurnUsage

MAX_TURN = 2_000_000
"""Characters of one turn after which an endpoint is taken to be running away."""

MAX_BYTES = 16_000_000
"""Bytes of one answer after which the same is true: what holds no text is not counted in characters."""

IDENTITY_LIMIT_S = 10.0
IDENTITY_FRESH_S = 60.0


@dataclass(slots=True)
class _Draft:
    """A turn while its fragments arrive; calls are joined by their index."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: dict[int, dict[str, str]] = field(default_factory=dict)
    finish: str | None = None
    usage: TurnUsage = field(default_factory=TurnUsage)
    size: int = 0


class ChatModel:
    """One endpoint over Chat Completions."""

    def __init__(self, endpoint: Endpoint, *, timeout_s: float) -> None:
        self.endpoint = endpoint
        timeout = httpx.Timeout(timeout_s, connect=10.0)
        self._timeout_s = timeout_s
        self._http = connect(endpoint.address, timeout=timeout, foreign=True)
        self._http.event_hooks = {"response": [_bound]}
        self._client = openai.AsyncOpenAI(
            base_url=str(self._http.base_url).rstrip("/") + endpoint.path,
            api_key=endpoint.key or "none",
            http_client=self._http,
            max_retries=1,
            timeout=timeout,
        )
        self._named: tuple[float, str] | None = None

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["ChatModel"]:
        """Close the connections on the way out."""
        async with self._http:
            yield self

    async def identify(self, wanted: str | None = None) -> ModelIdentity:
        """See `Model.identify`; the endpoint's list is asked again after a minute."""
        name = wanted or self.endpoint.model or await self._first_model()
        return ModelIdentity(name, self.endpoint.shown, "chat", self.endpoint.why)

    async def sample(
        self,
        messages: list[Message],
        tools: tuple[ToolSpec, ...],
        sampling: Sampling,
        on_delta: Callable[[str, str], None],
    ) -> Turn:
        """See `Model.sample`."""
        request: dict[str, Any] = {
            "model": (await self.identify(sampling.model)).name,
            "messages": messages,
            self.endpoint.limit: sampling.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if tools:
            request["tools"] = [_offered(tool) for tool in tools]
        if not self.endpoint.offline and "gpt-oss" in request["model"]:
            request["reasoning_effort"] = sampling.reasoning_effort
        draft = _Draft()
        # The client's own limit is for each read, and does not end what drips for ever.
        with self._errors():
            async with (
                asyncio.timeout(self._timeout_s),
                await self._client.chat.completions.create(**request) as stream,
            ):
                async for chunk in stream:
                    _add(draft, chunk, on_delta)
        return _finished(draft, self.endpoint)

    async def _first_model(self) -> str:
        if self._named and time.monotonic() - self._named[0] < IDENTITY_FRESH_S:
            return self._named[1]
        with self._errors():
            async with asyncio.timeout(IDENTITY_LIMIT_S):
                page = await self._client.models.list(timeout=IDENTITY_LIMIT_S)
            names = [str(model.id) for model in page.data]
        if not names:
            raise ModelUnreachable(f"{self.endpoint.shown} lists no models; set ORCHESTRATOR_MODEL to name one.")
        self._named = (time.monotonic(), next((name for name in names if "gpt-oss" in name), names[0]))
        return self._named[1]

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Say in our words what the endpoint did wrong, and quote its own."""
        where = self.endpoint.shown
        try:
            yield
        except openai.APIStatusError as error:
            raise ModelUnreachable(
                f"The model endpoint {where} answered {error.status_code}: {_words(error.response)}; "
                "check GPT_OSS_URL, LLM_API_KEY and the model's name."
            ) from error
        except (openai.APITimeoutError, httpx.TimeoutException, TimeoutError) as error:
            raise ModelUnreachable(f"The model endpoint {where} did not answer in time; try again.") from error
        except (openai.APIConnectionError, httpx.HTTPError) as error:
            cause = error.__cause__ or error
            raise ModelUnreachable(
                f"The model endpoint {where} cannot be reached ({cause}); is it running? It is asked because "
                f"{self.endpoint.why}."
            ) from error
        # What a wrong server sends breaks the client in many ways, none of them ours to tell apart.
        except (openai.OpenAIError, ValueError, TypeError, AttributeError, KeyError, LookupError) as error:
            raise ModelNonsense(
                f"The model endpoint {where} answered something that is no chat completion "
                f"({type(error).__name__}); is GPT_OSS_URL an OpenAI-compatible /v1?"
            ) from error


class _Bounded(httpx.AsyncByteStream):
    """A body that ends in an error past `MAX_BYTES`."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > MAX_BYTES:
                raise ValueError("the answer does not end")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _bound(response: httpx.Response) -> None:
    assert isinstance(response.stream, httpx.AsyncByteStream)
    response.stream = _Bounded(response.stream)


def _offered(tool: ToolSpec) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": tool.schema},
    }


def _add(draft: _Draft, chunk: ChatCompletionChunk, on_delta: Callable[[str, str], None]) -> None:
    if chunk.usage is not None:
        details = chunk.usage.completion_tokens_details
        draft.usage = TurnUsage(
            input_tokens=chunk.usage.prompt_tokens or 0,
            output_tokens=chunk.usage.completion_tokens or 0,
            reasoning_tokens=(details.reasoning_tokens if details else 0) or 0,
        )
    for choice in chunk.choices or []:
        draft.finish = choice.finish_reason or draft.finish
        if choice.delta is not None:
            _add_delta(draft, choice.delta, on_delta)
    if draft.size > MAX_TURN:
        raise ValueError("the turn does not end")


def _add_delta(draft: _Draft, delta: ChoiceDelta, on_delta: Callable[[str, str], None]) -> None:
    # vLLM says `reasoning`, others still `reasoning_content`; neither is in the client's types.
    reasoning = getattr(delta, "reasoning", None) or getattr(delta, "reasoning_content", None)
    for kind, text, parts in (("reasoning", reasoning, draft.reasoning), ("text", delta.content, draft.text)):
        if isinstance(text, str) and text:
            parts.append(text)
            draft.size += len(text)
            on_delta(kind, text)
    for fragment in delta.tool_calls or []:
        call = draft.calls.setdefault(fragment.index or 0, {"id": "", "name": "", "arguments": ""})
        call["id"] = fragment.id or call["id"]
        if fragment.function is not None:
            call["name"] += fragment.function.name or ""
            call["arguments"] += fragment.function.arguments or ""
            draft.size += len(fragment.function.arguments or "")


def _finished(draft: _Draft, endpoint: Endpoint) -> Turn:
    calls = tuple(
        ToolCall(id=call["id"] or f"call_{index}", name=_clean_name(call["name"]), arguments=call["arguments"] or "{}")
        for index, call in sorted(draft.calls.items())
    )
    turn = Turn("".join(draft.text), "".join(draft.reasoning), calls, draft.finish or "stop", draft.usage)
    if draft.finish is None:
        what = "broke off its answer" if turn.text or calls else "sent no completion"
        raise ModelNonsense(f"The model endpoint {endpoint.shown} {what}; is it an OpenAI-compatible /v1?")
    return turn


def _clean_name(name: str) -> str:
    """Strip what GPT-OSS sometimes leaves around a tool's name."""
    return name.split("<|", maxsplit=1)[0].strip().removeprefix("functions.")


def _words(response: httpx.Response) -> str:
    """The endpoint's own words, short."""
    try:
        body = json.loads(response.text)
        error = body.get("error", body) if isinstance(body, dict) else body
        text = error.get("message", error) if isinstance(error, dict) else error
    except (ValueError, httpx.ResponseNotRead):
        text = response.reason_phrase
    return str(text)[:300]
