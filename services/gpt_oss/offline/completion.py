"""A finished turn as OpenAI's bodies: one completion, or the chunks of a stream. Knows no rule."""

import json
import re
from dataclasses import dataclass
from typing import Any

from services.gpt_oss.offline.planner import Turn
from services.gpt_oss.offline.schema import MODEL

_FINGERPRINT = "offline-rules-1"
_ARGUMENT_PIECE = 16


@dataclass(frozen=True, slots=True)
class Completion:
    """One turn, with what its bodies say about it. Tokens are estimated at four characters each."""

    id: str
    created: int
    turn: Turn
    prompt_characters: int
    token_limit: int | None = None

    @property
    def text(self) -> str:
        """The answer within the caller's token limit."""
        return self.turn.text if self.token_limit is None else self.turn.text[: self.token_limit * 4]

    @property
    def finish(self) -> str:
        """Why the turn ended."""
        if self.turn.calls:
            return "tool_calls"
        return "stop" if self.text == self.turn.text else "length"

    def body(self) -> dict[str, Any]:
        """Return the body of an answer that is not streamed."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text or None, "reasoning": self.turn.reasoning}
        if self.turn.calls:
            message["tool_calls"] = self.calls()
        choice = {"index": 0, "message": message, "finish_reason": self.finish, "logprobs": None}
        return {**self.head("chat.completion"), "choices": [choice], "usage": self.usage()}

    def calls(self) -> list[dict[str, Any]]:
        """Return the tool calls."""
        return [
            {
                "id": planned.id,
                "type": "function",
                "function": {"name": planned.call.name, "arguments": json.dumps(planned.call.arguments)},
            }
            for planned in self.turn.calls
        ]

    def head(self, kind: str) -> dict[str, Any]:
        """Return what every body starts with."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": MODEL,
            "system_fingerprint": _FINGERPRINT,
        }

    def usage(self) -> dict[str, Any]:
        """Return the estimated tokens."""
        reasoning = _tokens(len(self.turn.reasoning))
        written = _tokens(len(self.text)) + sum(_tokens(len(json.dumps(call))) for call in self.calls())
        prompt = _tokens(self.prompt_characters)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": written + reasoning,
            "total_tokens": prompt + written + reasoning,
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        }


def chunks(completion: Completion, *, include_usage: bool) -> list[str]:
    """Return the events of a stream: reasoning, then words or call fragments, the reason of its end, `[DONE]`."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, {"reasoning": completion.turn.reasoning}]
    deltas += [{"content": word} for word in re.findall(r"\s*\S+\s*|\s+", completion.text)]
    for index, call in enumerate(completion.calls()):
        deltas += _call_deltas(index, call)
    events = [_event(completion, [{"index": 0, "delta": delta, "finish_reason": None}]) for delta in deltas]
    events.append(_event(completion, [{"index": 0, "delta": {}, "finish_reason": completion.finish}]))
    if include_usage:
        events.append(_event(completion, [], usage=completion.usage()))
    return [*events, "data: [DONE]\n\n"]


def _call_deltas(index: int, call: dict[str, Any]) -> list[dict[str, Any]]:
    function = call["function"]
    first = {
        "index": index,
        "id": call["id"],
        "type": "function",
        "function": {"name": function["name"], "arguments": ""},
    }
    text = function["arguments"]
    pieces = [text[at : at + _ARGUMENT_PIECE] for at in range(0, len(text), _ARGUMENT_PIECE)]
    rest = [{"index": index, "function": {"arguments": piece}} for piece in pieces]
    return [{"tool_calls": [delta]} for delta in (first, *rest)]


def _event(completion: Completion, choices: list[dict[str, Any]], **more: Any) -> str:
    return f"data: {json.dumps({**completion.head('chat.completion.chunk'), 'choices': choices, **more})}\n\n"


def _tokens(characters: int) -> int:
    return (characters + 3) // 4
