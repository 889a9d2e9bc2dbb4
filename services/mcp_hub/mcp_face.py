"""The MCP endpoint of a workspace: grants, listing and calling over streamable HTTP. Knows no tool's work."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import mcp_types as types
from mcp import MCPError
from mcp.server import Server
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import SecretStr
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from services.chassis.app import VERSION
from services.chassis.errors import ServiceError, error_response
from services.mcp_hub import grants
from services.mcp_hub.policy import Policy
from services.mcp_hub.registry import Registry
from services.mcp_hub.servers.tool import AnyTool
from services.mcp_hub.tool_calls import Outcome, ToolCalls
from services.wire.hub import Grant

Context = ServerRequestContext[dict[str, Any], Any]

ERROR_META = "moorage/error"
"""Key of a failed result's `_meta` that holds the error code."""

BODY_LIMIT = 16 * 1024 * 1024
"""Largest request, in bytes; `write_file` takes 10 million characters."""

_GRANT = "moorage.grant"
_LISTING_TTL_MS = 300_000
_INSTRUCTIONS = "Tools of one Moorage workspace: a git work tree in a sandbox. Paths are relative to its root."


class McpFace:
    """An ASGI app below `/ws/{workspace_id}/mcp`; every request carries its own grant."""

    def __init__(
        self,
        registry: Registry,
        policy: Policy,
        calls: ToolCalls,
        *,
        service_secret: SecretStr,
        allowed_hosts: Sequence[str],
    ) -> None:
        self._registry = registry
        self._policy = policy
        self._calls = calls
        self._secret = service_secret
        self._sessions = StreamableHTTPSessionManager(
            app=self._server(),
            # Stateless, so that any replica answers any request and the grant is always the request's own.
            stateless=True,
            # JSON answers would neither stream progress nor notice that the caller went away.
            json_response=False,
            security_settings=_rebinding_protection(allowed_hosts),
            max_request_body_size=BODY_LIMIT,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve while the context is open; it can be opened once."""
        async with self._sessions.run():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the grant, then let the SDK answer."""
        try:
            scope[_GRANT] = grants.require(HTTPConnection(scope), self._secret, scope["path_params"]["workspace_id"])
        except ServiceError as error:
            await error_response(error)(scope, receive, send)
            return
        await self._sessions.handle_request(scope, receive, send)

    def _server(self) -> Server[dict[str, Any]]:
        return Server(
            "moorage",
            version=VERSION,
            instructions=_INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            # Without it every call with arguments would run the whole listing first.
            get_tool_input_schema=self._schema,
            cache_hints={
                "tools/list": CacheHint(ttl_ms=_LISTING_TTL_MS, scope="private"),
                "server/discover": CacheHint(ttl_ms=_LISTING_TTL_MS, scope="private"),
            },
        )

    async def _list_tools(self, context: Context, _: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        grant = _grant(context)
        allowed = [(name, tool) for name, tool in self._registry.items() if self._policy.allows(grant, name)]
        return types.ListToolsResult(tools=[_listed(name, tool) for name, tool in allowed])

    async def _call_tool(self, context: Context, wanted: types.CallToolRequestParams) -> types.CallToolResult:
        tool = self._registry.find(wanted.name)
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {wanted.name[:200]}")
        return _result(await self._calls.make(_grant(context), wanted.name, tool, wanted.arguments or {}))

    def _schema(self, name: str) -> Mapping[str, Any] | None:
        tool = self._registry.find(name)
        return tool.schema if tool else None


class McpRoute:
    """The ASGI endpoint that finds the face of this process in the lifespan's state."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        face: McpFace = scope["state"]["mcp_face"]
        await face(scope, receive, send)


def _grant(context: Context) -> Grant:
    assert context.request is not None
    grant = context.request.scope[_GRANT]
    assert isinstance(grant, Grant)
    return grant


def _rebinding_protection(hosts: Sequence[str]) -> TransportSecuritySettings:
    origins = [f"{scheme}://{host}" for host in hosts for scheme in ("http", "https")]
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True, allowed_hosts=list(hosts), allowed_origins=origins
    )


def _listed(name: str, tool: AnyTool) -> types.Tool:
    hints = types.ToolAnnotations(
        read_only_hint=tool.hints.read_only,
        destructive_hint=tool.hints.destructive,
        idempotent_hint=tool.hints.idempotent,
        open_world_hint=tool.hints.open_world,
    )
    return types.Tool(name=name, description=tool.description, input_schema=tool.schema, annotations=hints)


def _result(outcome: Outcome) -> types.CallToolResult:
    content: list[types.ContentBlock] = [types.TextContent(text=outcome.answer.text)]
    if outcome.error is not None:
        return types.CallToolResult(content=content, is_error=True, _meta={ERROR_META: outcome.error.value})
    return types.CallToolResult(content=content, structured_content=outcome.answer.data)
