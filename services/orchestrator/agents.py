"""The orchestrator's own calls to an agent: open the tree, read its changes. Tools go through the hub instead."""

import httpx

from services.chassis.http import call, connect
from services.wire.agent import RUN_HEADER, ChangesReply, OpenReply, OpenRequest
from services.wire.errors import ErrorCode

OPEN_LIMIT_S = 1200.0
"""Above the agent's own limit of a fetch, 900 s, which comes with the better words."""
CHANGES_LIMIT_S = 300.0
CHANGES_BYTES = 64 * 1024 * 1024
"""A patch of the agent's own limit, 32 MiB, in base64."""


class AgentClient:
    """One run's view of one agent; every call names the run, so that the agent can refuse an older one."""

    def __init__(self, address: str, run_no: int) -> None:
        self._address = address
        self._headers = {RUN_HEADER: str(run_no)}

    async def open(self, request: OpenRequest) -> OpenReply:
        """Bring the work tree to where the run starts.

        Raises:
            ServiceError: the agent's own error, or `agent_unreachable`.
        """
        async with self._client() as client:
            return await call(
                client, "POST", "/open", OpenReply, body=request, headers=self._headers, timeout=OPEN_LIMIT_S,
                unreachable=ErrorCode.AGENT_UNREACHABLE, who="The agent",
            )  # fmt: skip

    async def changes(self) -> ChangesReply:
        """Commit the work tree under a private ref and return what changed since the run's base.

        Raises:
            ServiceError: the agent's own error, or `agent_unreachable`.
        """
        async with self._client() as client:
            return await call(
                client, "GET", "/changes", ChangesReply, headers=self._headers, timeout=CHANGES_LIMIT_S,
                limit=CHANGES_BYTES,
                unreachable=ErrorCode.AGENT_UNREACHABLE, who="The agent",
            )  # fmt: skip

    def _client(self) -> httpx.AsyncClient:
        return connect(self._address)
