"""One proxied connection of a sandbox: what it asks for, and whether it may. Knows no way to carry bytes."""

import asyncio
import contextlib
import re
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, urlsplit

import h11

from services.chassis.errors import ServiceError
from services.mcp_hub import addresses
from services.mcp_hub.audit import Audit
from services.mcp_hub.git_gateway import STALL_S, GitCall, GitGateway
from services.mcp_hub.http_relay import Client, Counter, Target, Upstream, close, counted, relay, send_stream, tunnel
from services.wire.base import WorkspaceId
from services.wire.errors import STATUS, ErrorCode
from services.wire.hub import GIT_HOST

_HEAD_TIMEOUT_S: Final = 15.0
_CONNECT_TIMEOUT_S: Final = 15.0
_DEFAULT_PORTS: Final = (443, 80)
_GIT_PATH: Final = re.compile(r"/(ws-[0-9a-f]{20})\.git/([a-z/-]{1,40})")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a sandbox may reach: `host` or `host:port` globs, ports 443 and 80 when none is named."""

    allow: tuple[str, ...]


@dataclass(slots=True)
class _Exchange:
    """One request of a sandbox, until it is answered."""

    workspace_id: WorkspaceId
    rules: Rules
    client: Client
    request: h11.Request
    counter: Counter = field(default_factory=Counter)
    target: Target = field(default_factory=lambda: Target("", 0, ""))

    @property
    def tunnels(self) -> bool:
        return self.request.method == b"CONNECT"


class Proxy:
    """Serves connections of sandboxes: the workspace's own mirror, and what its allow-list names."""

    def __init__(self, gateway: GitGateway, audit: Audit, private_hosts: Sequence[str]) -> None:
        self._gateway = gateway
        self._audit = audit
        self._private_hosts = tuple(private_hosts)

    async def serve(self, workspace_id: WorkspaceId, rules: Rules, client: Client) -> None:
        """Serve one connection to its end: exactly one request, so that each is checked and audited."""
        try:
            async with asyncio.timeout(_HEAD_TIMEOUT_S):
                request = await client.event()
        except (h11.RemoteProtocolError, TimeoutError, OSError):
            with contextlib.suppress(OSError, h11.LocalProtocolError):
                await client.refuse(HTTPStatus.BAD_REQUEST, "This is an HTTP proxy, and that was no HTTP request.")
            return
        if isinstance(request, h11.Request):
            await self._audited(_Exchange(workspace_id, rules, client, request))

    async def _audited(self, exchange: _Exchange) -> None:
        began = time.perf_counter()
        failure: str | None = ErrorCode.CANCELLED
        try:
            exchange.target = _target(exchange.request)
            await self._forward(exchange)
            failure = None
        except ServiceError as error:
            failure = error.code
            with contextlib.suppress(OSError, h11.LocalProtocolError):
                await exchange.client.refuse(STATUS[error.code], error.message)
        except (OSError, TimeoutError, h11.ProtocolError) as error:
            # Either side ended in the middle: the other one is told by the end of the connection.
            failure = type(error).__name__
        finally:
            self._record(exchange, failure, began)

    def _record(self, exchange: _Exchange, failure: str | None, began: float) -> None:
        self._audit.write_limited(
            "egress",
            exchange.workspace_id,
            method=exchange.request.method.decode("ascii", "replace"),
            host=exchange.target.host,
            port=exchange.target.port,
            allowed=failure not in (ErrorCode.ADDRESS_FORBIDDEN, ErrorCode.FORBIDDEN),
            error=failure,
            sent=exchange.counter.sent,
            received=exchange.counter.received,
            ms=round((time.perf_counter() - began) * 1000, 1),
        )

    async def _forward(self, exchange: _Exchange) -> None:
        if exchange.target.host == GIT_HOST:
            await self._serve_mirror(exchange)
            return
        found = await self._checked(exchange.rules, exchange.target)
        upstream = await _open(exchange.target, found)
        try:
            if exchange.tunnels:
                await tunnel(exchange.client, upstream, exchange.counter)
            else:
                await relay(exchange.client, exchange.request, exchange.target, upstream, exchange.counter)
        finally:
            await close(upstream.writer)

    async def _checked(self, rules: Rules, target: Target) -> list[str]:
        """Return the addresses a sandbox may be connected to; the connection is made to one of exactly these."""
        host, port = target.host, target.port
        if not addresses.matches(rules.allow, host, port, _DEFAULT_PORTS):
            shown = host if port in _DEFAULT_PORTS else f"{host}:{port}"
            remedy = f"Add {shown} to ORCHESTRATOR_EGRESS_ALLOW to allow it."
            raise ServiceError(ErrorCode.FORBIDDEN, f"Sandboxes may not reach {host}:{port}. {remedy}")
        try:
            found = await addresses.resolve(host, port)
        except (OSError, TimeoutError) as error:
            raise ServiceError(ErrorCode.REPOSITORY_UNREACHABLE, f"The host {host} is not known here.") from error
        # A private address needs both settings to spell it out, so that no wide glob opens the inner network.
        spelled_out = (addresses.names_exactly(globs, host, port) for globs in (rules.allow, self._private_hosts))
        if not all(spelled_out):
            remedy = f"To allow it, add {host}:{port} to ORCHESTRATOR_EGRESS_ALLOW and to MCP_HUB_PRIVATE_HOSTS."
            addresses.require_public(host, found, remedy)
        return found

    async def _serve_mirror(self, exchange: _Exchange) -> None:
        own = f"http://{GIT_HOST}/{exchange.workspace_id}.git"
        if exchange.tunnels:
            raise ServiceError(ErrorCode.FORBIDDEN, f"{GIT_HOST} speaks plain HTTP; use {own}.")
        parts = urlsplit(exchange.target.path)
        named = _GIT_PATH.fullmatch(parts.path)
        if named is None or named[1] != exchange.workspace_id:
            raise ServiceError(ErrorCode.FORBIDDEN, f"A sandbox reaches only its own repository, {own}.")
        headers = {bytes(name): bytes(value).decode("latin-1") for name, value in exchange.request.headers}
        call = GitCall(
            method=exchange.request.method.decode("ascii", "replace"),
            path=named[2],
            service=next(iter(parse_qs(parts.query).get("service", [])), None),
            protocol=headers.get(b"git-protocol", ""),
            encoding=headers.get(b"content-encoding", "").lower(),
            body=counted(exchange.client.body(), exchange.counter),
        )
        answer = await self._gateway.answer(exchange.workspace_id, call)
        await send_stream(exchange.client, answer.content_type, answer.chunks, exchange.counter, stall_s=STALL_S)


def _target(request: h11.Request) -> Target:
    text = request.target.decode("ascii", "replace")
    if request.method == b"CONNECT":
        host, port = addresses.split_authority(text)
        if not host or port is None or not port.isdigit() or int(port) > 65535:
            raise ServiceError(ErrorCode.MALFORMED, "CONNECT needs host:port.")
        return Target(host, int(port), "")
    try:
        parts = urlsplit(text)
        port_number = parts.port or 80
    except ValueError as error:
        raise ServiceError(ErrorCode.MALFORMED, "The address in the request is no URL.") from error
    if parts.scheme != "http" or not parts.hostname:
        raise ServiceError(ErrorCode.MALFORMED, "This is a proxy: ask for http://host/path, or CONNECT host:port.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.hostname.rstrip("."), port_number, path)


async def _open(target: Target, found: Sequence[str]) -> Upstream:
    failure = "no address"
    for address in found[:4]:
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                # The checked address itself, never the name again: a second answer could be another one.
                return Upstream(*await asyncio.open_connection(address, target.port, flags=socket.AI_NUMERICHOST))
        except (OSError, TimeoutError) as error:
            failure = str(error) or "it did not answer in time"
    message = f"{target.host}:{target.port} cannot be reached: {failure}."
    raise ServiceError(ErrorCode.REPOSITORY_UNREACHABLE, message)
