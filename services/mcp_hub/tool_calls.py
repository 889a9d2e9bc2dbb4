"""One tool call from its validated grant to its result: policy, agent, caps, audit. Knows no protocol."""

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from services.chassis.errors import ServiceError
from services.mcp_hub.agents import Agents
from services.mcp_hub.audit import Audit
from services.mcp_hub.policy import Policy
from services.mcp_hub.servers.tool import Answer, AnyTool, Arguments
from services.wire.errors import ErrorCode
from services.wire.hub import Grant

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call came to: an answer, or the error whose message the caller reads."""

    answer: Answer
    error: ErrorCode | None = None


class ToolCalls:
    """Makes calls of known tools."""

    def __init__(self, agents: Agents, policy: Policy, audit: Audit) -> None:
        self._agents = agents
        self._policy = policy
        self._audit = audit

    async def make(self, grant: Grant, name: str, tool: AnyTool, arguments: Mapping[str, Any]) -> Outcome:
        """Make one call; whatever goes wrong with it is the outcome, and every call leaves an audit line."""
        began = time.perf_counter()
        outcome = Outcome(Answer("The caller closed the request."), ErrorCode.CANCELLED)
        try:
            outcome = await self._attempt(grant, name, tool, arguments)
        finally:
            self._record(grant, name, arguments, outcome, began)
        return outcome

    async def _attempt(self, grant: Grant, name: str, tool: AnyTool, arguments: Mapping[str, Any]) -> Outcome:
        try:
            self._policy.require(grant, name)
            wanted = _parse(tool, arguments)
            return Outcome(self._policy.cap(await self._run(grant, tool, wanted)))
        except ServiceError as error:
            return Outcome(self._policy.cap(Answer(error.message)), error.code)
        except Exception:
            logger.exception("tool failed", extra={"tool": name, "workspace_id": grant.workspace_id})
            return Outcome(Answer("The hub failed in this call; its log has the reason."), ErrorCode.INTERNAL)

    async def _run(self, grant: Grant, tool: AnyTool, wanted: Arguments) -> Answer:
        limit = self._policy.timeout_s(tool, wanted)
        try:
            async with asyncio.timeout(limit):
                mutating = self._policy.mutating(tool)
                async with self._agents.reach(grant, mutating=mutating, timeout_s=limit) as agent:
                    return await tool.run(agent, wanted)
        except TimeoutError as error:
            message = f"The call took longer than {limit:g} seconds and was cancelled; ask for less at once."
            raise ServiceError(ErrorCode.TIMEOUT, message) from error

    def _record(self, grant: Grant, name: str, arguments: Mapping[str, Any], outcome: Outcome, began: float) -> None:
        self._audit.write(
            "call",
            workspace=grant.workspace_id,
            task=grant.task_id,
            run_no=grant.run_no,
            tool=name,
            ok=outcome.error is None,
            error=outcome.error,
            ms=round((time.perf_counter() - began) * 1000, 1),
            # Sizes only: an argument may be a secret.
            bytes_in=len(json.dumps(arguments, default=str)),
            bytes=len(outcome.answer.text.encode(errors="replace")),
        )


def _parse(tool: AnyTool, arguments: Mapping[str, Any]) -> Arguments:
    try:
        parsed = tool.arguments.model_validate(arguments)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = ", ".join(tool.arguments.model_fields) or "none"
            message = f"Unknown argument {place!r}; this tool takes: {known}."
        else:
            message = f"Argument {place!r}: {first['msg'][0].lower()}{first['msg'][1:]}."
        raise ServiceError(ErrorCode.INVALID_FIELD, message) from error
    assert isinstance(parsed, Arguments)
    return parsed
