"""A hub as its callers see it, an agent and an orchestrator that answer what a test says, and git."""

import contextlib
import json
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx
import httpx2
import uvicorn
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from pydantic import BaseModel, SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from services.chassis.errors import ServiceError, error_response
from services.mcp_hub import grants
from services.wire.agent import RUN_HEADER
from services.wire.base import TaskId, WorkspaceId
from services.wire.hub import AgentAddress, Grant

SECRET = SecretStr("s" * 48)
WORKSPACE = WorkspaceId("ws-" + "a" * 20)
OTHER = WorkspaceId("ws-" + "b" * 20)
TASK = TaskId("11111111-1111-1111-1111-111111111111")


class Servers:
    """Apps on bound sockets, each served from a thread of its own, all stopped at once."""

    def __init__(self) -> None:
        self._running: list[tuple[uvicorn.Server, threading.Thread, socket.socket]] = []

    def start(self, app: ASGIApp, sock: socket.socket) -> None:
        """Serve an app; returns once it answers."""
        sock.listen(64)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=2))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        self._running.append((server, thread, sock))
        deadline = time.monotonic() + 10
        while not server.started and thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.002)
        assert server.started

    def stop(self) -> None:
        """Stop every server."""
        for server, _, _ in self._running:
            server.should_exit = True
        for _, thread, sock in self._running:
            thread.join(10)
            sock.close()


def loopback() -> tuple[socket.socket, int]:
    sock = socket.create_server(("127.0.0.1", 0))
    return sock, sock.getsockname()[1]


@dataclass
class FakeAgent:
    """The agent's HTTP API with the replies a test has set; records what it was asked."""

    address: str = ""
    replies: dict[str, BaseModel | ServiceError | Response] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, Any], str | None]] = field(default_factory=list)
    waiting: threading.Event = field(default_factory=threading.Event)
    abandoned: threading.Event = field(default_factory=threading.Event)
    silent: set[str] = field(default_factory=set)

    async def answer(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append((request.url.path, body, request.headers.get(RUN_HEADER)))
        if request.url.path in self.silent:
            self.waiting.set()
            while (await request.receive())["type"] != "http.disconnect":
                pass
            self.abandoned.set()
        reply = self.replies[request.url.path]
        if isinstance(reply, ServiceError):
            return error_response(reply)
        return reply if isinstance(reply, Response) else JSONResponse(reply.model_dump(mode="json"))

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self.answer, methods=["POST"])])


@dataclass
class FakeOrchestrator:
    """Tells where the agent is."""

    address: str = ""
    reply: AgentAddress | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)

    async def answer(self, request: Request) -> Response:
        self.asked.append((request.url.path, request.headers.get("authorization", "")))
        assert self.reply is not None
        return JSONResponse(self.reply.model_dump(mode="json"))


@dataclass
class Hub:
    """A running hub."""

    url: str
    state_dir: Path
    audit_file: Path

    def grant(self, workspace: WorkspaceId = WORKSPACE, *, ttl_s: float = 60, **fields: Any) -> str:
        return grants.sign(Grant(workspace_id=workspace, **fields), SECRET, ttl_s=ttl_s)

    def endpoint(self, workspace: WorkspaceId = WORKSPACE) -> str:
        return f"{self.url}/ws/{workspace}/mcp"

    @contextlib.asynccontextmanager
    async def client(self, mode: str, **fields: Any) -> AsyncIterator[Client]:
        headers = {"Authorization": f"Bearer {self.grant(**fields)}"}
        async with httpx2.AsyncClient(headers=headers, timeout=20) as http:
            transport = streamable_http_client(self.endpoint(), http_client=http)
            async with Client(transport, mode=mode, cache=None) as client:
                yield client

    def internal(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {SECRET.get_secret_value()}"}
        return httpx.request(method, self.url + path, json=body, headers=headers, timeout=30, trust_env=False)

    def mirror(self, fetch_url: str | Path, **fields: Any) -> httpx.Response:
        body = {"workspace_id": WORKSPACE, "fetch_url": str(fetch_url), **fields}
        return self.internal("POST", "/internal/mirrors", body)

    def audited(self, kind: str, count: int) -> list[dict[str, Any]]:
        """Return the audit lines of a kind once there are `count`; a line is written after its subject has ended."""
        deadline = time.monotonic() + 10
        found: list[dict[str, Any]] = []
        while len(found) < count and time.monotonic() < deadline:
            lines = self.audit_file.read_text().splitlines() if self.audit_file.exists() else []
            found = [line for line in map(json.loads, lines) if line["kind"] == kind]
            time.sleep(0.002)
        assert len(found) == count
        return found


class StartHub(Protocol):
    """Starts a hub with some settings; it ends with the test."""

    def __call__(self, **settings: Any) -> Hub: ...


def git(directory: Path, *arguments: str) -> str:
    """Run git as a user would, and return what it printed."""
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    ran = subprocess.run(["git", *identity, "-C", str(directory), *arguments], capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode(errors="replace")
    return ran.stdout.decode(errors="surrogateescape").removesuffix("\n")
