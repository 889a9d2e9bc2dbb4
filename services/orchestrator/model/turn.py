"""What a wire takes and gives. Knows no endpoint."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from services.chassis.errors import ServiceError
from services.wire.errors import ErrorCode
from services.wire.events import ToolCall, TurnUsage

Message = dict[str, Any]
"""A Chat Completions message."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the model is offered it."""

    name: str
    description: str
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sampling:
    """What a request asks of the model besides the messages."""

    model: str | None = None
    reasoning_effort: str = "medium"
    max_tokens: int = 16_384


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer: `finish` is `stop`, `tool_calls` or `length`; a turn cut by length is never executed."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()
    finish: str = "stop"
    usage: TurnUsage = field(default_factory=TurnUsage)


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model answers, where, over which wire, and why it was chosen."""

    name: str
    endpoint: str
    wire: str
    why: str


class ModelUnreachable(ServiceError):
    """The endpoint does not answer, or refuses."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.MODEL_UNREACHABLE, message)


class ModelNonsense(ServiceError):
    """The endpoint answers, but not with a usable turn."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.MODEL_NONSENSE, message)


class Model(Protocol):
    """A model behind a wire."""

    async def identify(self, wanted: str | None = None) -> ModelIdentity:
        """Say which model would answer.

        Raises:
            ModelUnreachable: the endpoint does not say.
        """

    async def sample(
        self,
        messages: list[Message],
        tools: tuple[ToolSpec, ...],
        sampling: Sampling,
        on_delta: Callable[[str, str], None],
    ) -> Turn:
        """Return the next turn; `on_delta(kind, text)` is told `text` and `reasoning` as they arrive.

        Raises:
            ModelUnreachable: the endpoint does not answer.
            ModelNonsense: it answers with something that is no turn.
        """
