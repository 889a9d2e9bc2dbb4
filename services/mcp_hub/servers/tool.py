"""What a tool of our own servers is: a name, an argument model, hints, and the call on the agent. Knows no tool."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from services.mcp_hub.agents import Agent


class Arguments(BaseModel):
    """Arguments of a tool; an unknown one is an error that names it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


A = TypeVar("A", bound=Arguments)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool returns: text for a model, and the same as data where that is natural."""

    text: str
    data: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Hints:
    """How a tool acts on the work tree; clients and policy read them."""

    read_only: bool = False
    destructive: bool = False
    idempotent: bool = False
    open_world: bool = False


READS = Hints(read_only=True, idempotent=True)


@dataclass(frozen=True, slots=True)
class Tool(Generic[A]):
    """One tool; `own_time_s` reads the time a call asks for itself, in seconds."""

    name: str
    description: str
    arguments: type[A]
    run: Callable[[Agent, A], Awaitable[Answer]]
    hints: Hints = READS
    own_time_s: Callable[[A], float] | None = None
    schema: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "schema", input_schema(self.arguments))


AnyTool = Tool[Any]
"""A tool whatever its arguments are; they were validated with the tool's own model."""


def input_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return a plain JSON Schema for `model`: no titles, and an optional field is simply not required."""
    full = model.model_json_schema()
    properties = {name: _plain(field) for name, field in full.get("properties", {}).items()}
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if required := full.get("required"):
        schema["required"] = required
    return schema


def _plain(field_schema: dict[str, Any]) -> dict[str, Any]:
    plain = {k: v for k, v in field_schema.items() if k != "title" and not (k == "default" and v is None)}
    kinds = [kind for kind in plain.pop("anyOf", []) if kind != {"type": "null"}]
    return {**kinds[0], **plain} if kinds else plain
