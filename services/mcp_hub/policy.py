"""What a call may do, how long it may take and how much it may return: decided here and nowhere else."""

import json
from fnmatch import fnmatchcase

from services.chassis.errors import ServiceError
from services.mcp_hub.servers.tool import Answer, AnyTool, Arguments
from services.wire.errors import ErrorCode
from services.wire.hub import Grant

_MARGIN_S = 15.0
"""A call that names its own time gets this much more, so that its own end is what is reported."""


class Policy:
    """The hub's rules for tool calls."""

    def __init__(self, *, call_timeout_s: float, output_limit: int) -> None:
        self._call_timeout_s = call_timeout_s
        self._output_limit = output_limit

    def allows(self, grant: Grant, name: str) -> bool:
        """Whether one of the grant's globs covers the tool."""
        return any(fnmatchcase(name, glob) for glob in grant.tools)

    def require(self, grant: Grant, name: str) -> None:
        """Let a call pass only when the grant covers the tool.

        Raises:
            ServiceError: 403.
        """
        if not self.allows(grant, name):
            raise ServiceError(ErrorCode.FORBIDDEN, f"This grant does not allow {name}; ask for one that names it.")

    def timeout_s(self, tool: AnyTool, arguments: Arguments) -> float:
        """Return how long the call may take, in seconds."""
        own = tool.own_time_s(arguments) + _MARGIN_S if tool.own_time_s else 0.0
        return max(self._call_timeout_s, own)

    def mutating(self, tool: AnyTool) -> bool:
        """Whether an outside client must wait for a run that owns the workspace."""
        return not tool.hints.read_only

    def cap(self, answer: Answer) -> Answer:
        """Return the answer within the output limit: of long text head and tail, of large data only its size."""
        data = answer.data
        if data is not None and (size := len(json.dumps(data))) > self._output_limit:
            data = {"truncated": True, "characters": size}
        return Answer(cut(answer.text, self._output_limit), data)


def cut(text: str, limit: int) -> str:
    """Return `text`, or its head and tail around a note when it is longer than `limit` characters."""
    if len(text) <= limit:
        return text
    note = f"\n[... {len(text) - limit} of {len(text)} characters cut here by the hub ...]\n"
    room = max(limit - len(note), 2)
    return text[: room - room // 3] + note + text[-(room // 3) :]
