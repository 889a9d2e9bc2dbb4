"""The orchestrator's side of the hub: mirrors, egress, grants, and tools over MCP. Knows no tool by name."""

import contextlib
from collections.abc import AsyncIterator, Callable, Generator
from dataclasses import dataclass
from typing import Any

import anyio
import httpx
import httpx2
import mcp_types as types
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from services.chassis.auth import sign
from services.chassis.concurrency import first_failure
from services.chassis.errors import ServiceError
from services.chassis.http import DEFAULT_TIMEOUT, call, connect
from services.wire.base import Reply, WorkspaceId
from services.wire.errors import ErrorCode
from services.wire.hub import GRANT_AUDIENCE, EgressRequest, Grant, MirrorReply, MirrorRequest

PROTOCOL = "2026-07-28"
MIRROR_LIMIT_S = 660.0
READY_LIMIT_S = 2.0
CALL_LIMIT_S = 3700.0
"""Above the longest command an agent runs; the hub's own, shorter limits come first."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as the hub lists it; `schema` is JSON Schema of its arguments."""

    name: str
    description: str
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Observation:
    """What a tool answered, as text for the model."""

    ok: bool
    text: str


class GrantAuth(httpx2.Auth):
    """Puts a freshly signed grant on every request, so that none outlives the lease it was made under."""

    def __init__(self, mint: Callable[[], str]) -> None:
        self._mint = mint

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """See `httpx2.Auth`."""
        request.headers["Authorization"] = f"Bearer {self._mint()}"
        yield request


class Toolbox:
    """The tools of one workspace. Each exchange has an MCP client of its own: one does not outlive its hub."""

    def __init__(self, endpoint: str, http: httpx2.AsyncClient) -> None:
        self._endpoint = endpoint
        self._http = http

    async def list(self) -> tuple[Tool, ...]:
        """Every tool the grant allows.

        Raises:
            ServiceError: `hub_unreachable`.
        """
        tools: list[Tool] = []
        cursor: str | None = None
        while True:
            with _hub_errors():
                async with self._client() as client:
                    page = await client.list_tools(cursor=cursor)
            tools += [Tool(tool.name, tool.description or "", tool.input_schema) for tool in page.tools]
            if not (cursor := page.next_cursor):
                return tuple(tools)

    async def call(self, name: str, arguments: dict[str, Any]) -> Observation:
        """Call a tool; a tool's own failure is an observation.

        Raises:
            ServiceError: `hub_unreachable`; nobody knows then whether the tool ran.
        """
        try:
            with _hub_errors():
                async with self._client() as client:
                    result = await client.call_tool(name, arguments, read_timeout_seconds=CALL_LIMIT_S)
        except MCPError as error:
            return Observation(ok=False, text=f"error: {error.error.message}")
        text = "\n".join(_text(block) for block in result.content)
        return Observation(ok=not result.is_error, text=f"error: {text}" if result.is_error else text)

    @contextlib.asynccontextmanager
    async def _client(self) -> AsyncIterator[Client]:
        try:
            transport = streamable_http_client(self._endpoint, http_client=self._http)
            async with Client(transport, mode=PROTOCOL, cache=None) as client:
                yield client
        except BaseExceptionGroup as failures:
            raise first_failure(failures) from None


class Hub:
    """A hub at an address, and the secret that signs grants for it."""

    def __init__(self, address: str, secret: str) -> None:
        self._address = address
        self._secret = secret

    async def mirror(self, request: MirrorRequest) -> MirrorReply:
        """Fetch a repository into its mirror.

        Raises:
            ServiceError: why it could not be fetched, or `hub_unreachable`.
        """
        async with connect(self._address, token=self._secret, timeout=DEFAULT_TIMEOUT) as client:
            return await call(
                client, "POST", "/internal/mirrors", MirrorReply, body=request, timeout=MIRROR_LIMIT_S,
                unreachable=ErrorCode.HUB_UNREACHABLE, who="The hub",
            )  # fmt: skip

    async def egress(self, workspace_id: WorkspaceId, request: EgressRequest) -> None:
        """Have the hub listen on a sandbox's egress socket.

        Raises:
            ServiceError: `hub_unreachable`.
        """
        async with connect(self._address, token=self._secret) as client:
            await call(
                client, "PUT", f"/internal/egress/{workspace_id}", Reply, body=request,
                unreachable=ErrorCode.HUB_UNREACHABLE, who="The hub",
            )  # fmt: skip

    async def forget(self, workspace_id: WorkspaceId) -> None:
        """Have the hub remove a workspace's mirror and close its egress, so that old grants lead nowhere.

        Raises:
            ServiceError: `hub_unreachable`.
        """
        async with connect(self._address, token=self._secret) as client:
            await call(
                client, "DELETE", f"/internal/mirrors/{workspace_id}", Reply,
                unreachable=ErrorCode.HUB_UNREACHABLE, who="The hub",
            )  # fmt: skip

    async def answers(self) -> None:
        """Return if the hub is ready.

        Raises:
            ServiceError: `hub_unreachable`.
        """
        async with connect(self._address, timeout=httpx.Timeout(READY_LIMIT_S)) as client:
            try:
                (await client.get("/ready")).raise_for_status()
            except httpx.HTTPError as error:
                raise _unreachable(str(error) or type(error).__name__) from error

    def grant(self, grant: Grant, ttl_s: float) -> str:
        """Return a signed grant, good for `ttl_s` seconds."""
        return sign(grant.model_dump(mode="json"), self._secret, audience=GRANT_AUDIENCE, ttl_s=ttl_s)

    def endpoint(self, workspace_id: WorkspaceId) -> str:
        """The MCP endpoint of a workspace."""
        return f"{self._address}/ws/{workspace_id}/mcp"

    @contextlib.asynccontextmanager
    async def tools(self, workspace_id: WorkspaceId, mint: Callable[[], str]) -> AsyncIterator[Toolbox]:
        """Open a workspace's tools. `mint` signs a grant for each request."""
        timeout = httpx2.Timeout(30.0, connect=5.0, read=CALL_LIMIT_S)
        async with httpx2.AsyncClient(auth=GrantAuth(mint), timeout=timeout, trust_env=False) as http:
            yield Toolbox(self.endpoint(workspace_id), http)


@contextlib.contextmanager
def _hub_errors() -> Generator[None, None, None]:
    """Tell a hub that is not there from a tool that failed."""
    try:
        yield
    except MCPError as error:
        if error.error.code in (types.CONNECTION_CLOSED, types.REQUEST_TIMEOUT):
            raise _unreachable(error.error.message) from error
        raise
    except (httpx2.HTTPError, anyio.ClosedResourceError, anyio.BrokenResourceError, OSError) as error:
        raise _unreachable(str(error) or type(error).__name__) from error


def _unreachable(reason: str) -> ServiceError:
    return ServiceError(ErrorCode.HUB_UNREACHABLE, f"The hub does not answer ({reason}); try again shortly.")


def _text(block: types.ContentBlock) -> str:
    return block.text if isinstance(block, types.TextContent) else f"[{block.type}]"
