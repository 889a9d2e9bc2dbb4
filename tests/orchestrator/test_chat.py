"""The chat wire against a real HTTP server that speaks, or fails to speak, Chat Completions."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from services.orchestrator.model.chat import ChatModel
from services.orchestrator.model.endpoint import Endpoint, choose, split
from services.orchestrator.model.turn import ModelNonsense, ModelUnreachable, Sampling, ToolSpec, Turn
from services.orchestrator.settings import Settings
from tests.servers import Served, serving

Answer = Callable[[Request], Awaitable[Response]]


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice], **more}
    return f"data: {json.dumps(body)}\n\n"


def stream(*parts: str) -> Answer:
    async def answer(_: Request) -> Response:
        async def body() -> AsyncIterator[str]:
            for part in [*parts, "data: [DONE]\n\n"]:
                yield part

        return StreamingResponse(body(), media_type="text/event-stream")

    return answer


async def sample(answer: Answer, **endpoint: Any) -> tuple[Turn, list[tuple[str, str]], list[dict[str, Any]]]:
    """One turn from a server that answers so; also the deltas and the requests it got."""
    requests: list[dict[str, Any]] = []
    deltas: list[tuple[str, str]] = []

    async def completions(request: Request) -> Response:
        requests.append({**(await request.json()), "authorization": request.headers.get("authorization")})
        return await answer(request)

    async def models(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": "other"}, {"id": "openai/gpt-oss-20b"}]})

    app = Starlette(routes=[Route("/v1/chat/completions", completions, methods=["POST"]), Route("/v1/models", models)])
    async with serving(app) as server, make(server, **endpoint).open() as model:
        tools = (ToolSpec("t", "d", {"type": "object"}),)
        turn = await model.sample(
            [{"role": "user", "content": "q"}], tools, Sampling(), lambda kind, text: deltas.append((kind, text))
        )
    return turn, deltas, requests


def make(server: Served, key: str = "", model: str | None = None) -> ChatModel:
    return ChatModel(Endpoint(server.url, "/v1", key, model, "a test"), timeout_s=5.0)


async def test_text_reasoning_and_usage_are_joined_from_the_stream() -> None:
    usage = {
        "prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12,
        "completion_tokens_details": {"reasoning_tokens": 2},
    }  # fmt: skip
    turn, deltas, requests = await sample(
        stream(
            chunk({"role": "assistant", "content": ""}),
            chunk({"reasoning": "hm"}),
            chunk({"content": "He"}),
            chunk({"content": "llo"}),
            chunk({}, "stop", usage=usage),
        ),
        key="k",
    )
    assert (turn.text, turn.reasoning, turn.finish) == ("Hello", "hm", "stop")
    assert turn.usage.model_dump() == {"input_tokens": 7, "output_tokens": 5, "reasoning_tokens": 2}
    assert deltas == [("reasoning", "hm"), ("text", "He"), ("text", "llo")]
    assert requests[0]["model"] == "openai/gpt-oss-20b"
    assert requests[0]["reasoning_effort"] == "medium"
    assert requests[0]["authorization"] == "Bearer k"


async def test_call_fragments_are_joined_by_index_and_names_cleaned() -> None:
    def fragment(index: int, arguments: str, **more: Any) -> str:
        function = {"arguments": arguments, **({"name": more.pop("name")} if "name" in more else {})}
        return chunk({"tool_calls": [{"index": index, "function": function, **more}]})

    turn, _, _ = await sample(
        stream(
            fragment(0, "", id="a", name="functions.read<|channel|>commentary", type="function"),
            fragment(1, "", id="b", name="list", type="function"),
            fragment(0, '{"p":'),
            fragment(1, "{}"),
            fragment(0, '"x"}'),
            chunk({}, "tool_calls"),
        )
    )
    assert [(call.id, call.name, call.arguments) for call in turn.calls] == [
        ("a", "read", '{"p":"x"}'),
        ("b", "list", "{}"),
    ]


async def test_the_older_field_for_reasoning_is_read_too() -> None:
    turn, _, _ = await sample(stream(chunk({"reasoning_content": "old"}), chunk({"content": "x"}, "stop")))
    assert turn.reasoning == "old"


async def test_a_turn_cut_by_length_says_so() -> None:
    turn, _, _ = await sample(stream(chunk({"content": "half"}, "length")))
    assert turn.finish == "length"


async def _html(_: Request) -> Response:
    return HTMLResponse("<html>not me</html>")


async def _wrong_json(_: Request) -> Response:
    return JSONResponse({"hello": "world"})


async def _plain(_: Request) -> Response:
    return PlainTextResponse("data: {broken\n\n", media_type="text/event-stream")


@pytest.mark.parametrize(
    "answer",
    [_html, _wrong_json, _plain, stream(), stream("data: 42\n\n"), stream('data: {"choices": 3}\n\n'),
     stream('data: {"choices": [{"delta": {"tool_calls": "x"}}]}\n\n')],
)  # fmt: skip
async def test_an_endpoint_that_sends_something_else_is_nonsense_in_words(answer: Answer) -> None:
    with pytest.raises(ModelNonsense, match="OpenAI-compatible"):
        await sample(answer)


async def test_an_error_answer_is_quoted() -> None:
    async def refuse(_: Request) -> Response:
        return JSONResponse({"error": {"message": "no such model"}}, status_code=404)

    with pytest.raises(ModelUnreachable, match="404: no such model"):
        await sample(refuse)


async def test_an_endpoint_that_is_gone_is_named() -> None:
    model = ChatModel(Endpoint("http://127.0.0.1:9", "/v1", "", None, ""), timeout_s=2.0)
    async with model.open():
        with pytest.raises(ModelUnreachable, match=r"http://127\.0\.0\.1:9/v1 cannot be reached"):
            await model.identify()


def settings(**values: str) -> Settings:
    return Settings.model_validate(values)


@pytest.mark.parametrize(
    ("values", "shown", "why"),
    [
        ({}, "offline engine", "writes no code"),
        ({"GPT_OSS_URL": "http://h:8000"}, "http://h:8000/v1", "GPT_OSS_URL is set"),
        ({"GPT_OSS_URL": "http://h:8000/v1/", "LLM_API_KEY": "k"}, "http://h:8000/v1", "GPT_OSS_URL is set"),
        ({"LLM_API_KEY": "sk-or-x"}, "https://openrouter.ai/api/v1", "OpenRouter"),
        ({"LLM_API_KEY": "gsk_x"}, "https://api.groq.com/openai/v1", "Groq"),
        ({"LLM_API_KEY": "sk-x"}, "https://api.openai.com/v1", "OpenAI"),
    ],
)
def test_the_endpoint_is_chosen_in_order_and_says_why(values: dict[str, str], shown: str, why: str) -> None:
    endpoint = choose(settings(**values))
    assert endpoint.shown == shown
    assert why in endpoint.why


@pytest.mark.parametrize("url", ["ftp://h", "h:8000", "http://", "http://u:p@h"])
def test_a_wrong_endpoint_url_is_refused_in_words(url: str) -> None:
    with pytest.raises(ValueError, match="GPT_OSS_URL"):
        split(url)
