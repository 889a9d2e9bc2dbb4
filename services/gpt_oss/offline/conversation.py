"""A request's messages read once: the request itself, and what tools have answered since. Knows no rule."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.gpt_oss.offline.schema import Message
from services.gpt_oss.offline.tools import Tool

_BLOCK = re.compile(
    r"<(?P<tag>context|files?|attachments?|memory|environment(?:_context)?|workspace)\b(?P<marks>[^>]*)>"
    r"(?P<inside>.*?)</(?P=tag)>",
    re.DOTALL | re.IGNORECASE,
)
_NAMED = re.compile(r"\b(?:path|name|file)\s*=\s*[\"']([^\"']+)[\"']")
_MISSING = re.compile(r"^These files do not exist: .*\Z", re.MULTILINE | re.DOTALL)
"""What the orchestrator adds below a request; it names files and is no part of the wish."""


@dataclass(frozen=True, slots=True)
class Past:
    """One call that was made since the request, and what came back; None while nothing has."""

    id: str
    name: str
    arguments: Mapping[str, Any]
    result: str | None


@dataclass(frozen=True, slots=True)
class Conversation:
    """The request without its context blocks, the paths those name, earlier requests, calls made since."""

    request: str
    attached: tuple[str, ...] = ()
    earlier: int = 0
    past: tuple[Past, ...] = ()


def read(messages: Sequence[Message], *, closing: bool = False) -> Conversation:
    """Return what the rules need; only the last user message counts as the request.

    With `closing` no tool may be called any more; a user message right after tool results is then a word about the
    request before it, such as "the step limit is reached".
    """
    users = [index for index, message in enumerate(messages) if message.role == "user"]
    if closing and len(users) > 1 and messages[users[-1] - 1].role == "tool":
        users.pop()
    last = users[-1] if users else len(messages)
    text = messages[last].text if users else ""
    return Conversation(
        request=_MISSING.sub("", _BLOCK.sub("\n", text)).strip(),
        attached=tuple(path for block in _BLOCK.finditer(text) for path in _attached(block)),
        earlier=max(len(users) - 1, 0),
        past=_past(messages[last + 1 :]),
    )


def _attached(block: re.Match[str]) -> list[str]:
    """Return the paths a context block names: in its tag, else one per line inside."""
    named = _NAMED.findall(block["marks"])
    lines = [line.strip(" -*`") for line in block["inside"].splitlines()[:100]]
    return named or [line for line in lines if re.fullmatch(r"[\w./@+-]+\.\w+", line)]


def tools_seen(conversation: Conversation) -> list[Tool]:
    """Return the tools whose calls are in the conversation, for a last request that offers none any more."""
    return [
        Tool(past.name, {"properties": {name: _schema(value) for name, value in past.arguments.items()}})
        for past in conversation.past
    ]


def _past(messages: Sequence[Message]) -> tuple[Past, ...]:
    results = {m.tool_call_id: m.text for m in messages if m.role == "tool" and m.tool_call_id}
    calls = [call for message in messages for call in message.tool_calls or ()]
    return tuple(
        Past(call.id, call.function.name, _arguments(call.function.arguments), results.get(call.id)) for call in calls
    )


def _arguments(text: str) -> Mapping[str, Any]:
    try:
        parsed = json.loads(text or "{}")
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _schema(value: object) -> dict[str, str]:
    kinds: list[tuple[type, str]] = [(bool, "boolean"), (int, "integer"), (str, "string"), (list, "array")]
    return {"type": next((name for kind, name in kinds if isinstance(value, kind)), "null")}
