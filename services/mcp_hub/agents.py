"""Agents as the hub calls them: where one is, whether it is busy, and its HTTP API. Knows no tool."""

import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TypeVar

import httpx
from pydantic import BaseModel

from services.chassis.errors import ServiceError
from services.chassis.http import call, connect
from services.wire.agent import RUN_HEADER
from services.wire.errors import ErrorCode
from services.wire.hub import AgentAddress, Grant

R = TypeVar("R", bound=BaseModel)

_POOL = 64
_WAKE_TIMEOUT_S = 60.0
_REPLY_LIMIT = 4 * 1024 * 1024
"""Most bytes of an agent's reply: its sandbox may answer for it, and an honest one is far below."""


class Agent:
    """One agent, called on behalf of one run."""

    def __init__(self, client: httpx.AsyncClient, run_no: int, timeout_s: float) -> None:
        self._client = client
        self._run_no = run_no
        self._timeout_s = timeout_s

    async def post(self, path: str, body: BaseModel, reply: type[R]) -> R:
        """Make one call.

        Raises:
            ServiceError: the agent's own refusal, or `agent_unreachable`.
        """
        headers = {RUN_HEADER: str(self._run_no)}
        return await call(
            self._client,
            "POST",
            path,
            reply,
            body=body,
            headers=headers,
            timeout=self._timeout_s,
            unreachable=ErrorCode.AGENT_UNREACHABLE,
            who="The agent",
            limit=_REPLY_LIMIT,
        )


@dataclass(slots=True)
class _Connection:
    client: httpx.AsyncClient
    users: int = field(default=0)


class Agents:
    """Finds agents and keeps connections to the ones used last."""

    def __init__(self, orchestrator: httpx.AsyncClient) -> None:
        self._orchestrator = orchestrator
        self._connections: OrderedDict[str, _Connection] = OrderedDict()

    @contextlib.asynccontextmanager
    async def reach(self, grant: Grant, *, mutating: bool, timeout_s: float) -> AsyncIterator[Agent]:
        """Yield the grant's agent, waking it if nobody has yet.

        Raises:
            ServiceError: `workspace_busy` for an outside client that would change what a run owns.
        """
        address, run_no = await self._locate(grant, mutating)
        connection = await self._take(address)
        try:
            yield Agent(connection.client, run_no, timeout_s)
        finally:
            connection.users -= 1

    async def close(self) -> None:
        """Close every connection."""
        while self._connections:
            await self._connections.popitem()[1].client.aclose()

    async def _locate(self, grant: Grant, mutating: bool) -> tuple[str, int]:
        outside = grant.run_no == 0
        # Only the orchestrator knows whether a run owns the tree, so an outside change always asks it.
        if grant.agent is not None and not (outside and mutating):
            return grant.agent, grant.run_no
        found = await self._ask(grant)
        if outside and mutating and found.busy:
            message = "A run is working in this workspace; wait until it ends, or cancel it, then call again."
            raise ServiceError(ErrorCode.WORKSPACE_BUSY, message)
        # An outside change goes under the last run's number, so that the next run's start ends it.
        return found.address, found.run_no if outside and mutating else grant.run_no

    async def _ask(self, grant: Grant) -> AgentAddress:
        return await call(
            self._orchestrator,
            "POST",
            f"/internal/workspaces/{grant.workspace_id}/agent",
            AgentAddress,
            timeout=_WAKE_TIMEOUT_S,
            unreachable=ErrorCode.AGENT_UNREACHABLE,
            who="The orchestrator",
        )

    async def _take(self, address: str) -> _Connection:
        connection = self._connections.get(address)
        if connection is None:
            connection = self._connections[address] = _Connection(connect(address))
        connection.users += 1
        self._connections.move_to_end(address)
        await self._shrink()
        return connection

    async def _shrink(self) -> None:
        idle = [address for address, held in self._connections.items() if held.users == 0]
        for address in idle[: max(0, len(self._connections) - _POOL)]:
            await self._connections.pop(address).client.aclose()
