"""The public API as the command line sees it: a real server on a real socket, whose tasks follow a script."""

import asyncio
import socket
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

DROP = "drop"
"""In a script: break the connection here, the first time it gets here."""

HOLD = "hold"
"""In a script: wait here until somebody cancels the task."""

WORKSPACE = "ws-0123456789abcdef0123"
MODEL = {"name": "gpt-oss-20b", "endpoint": "http://model/v1", "wire": "chat", "why": "GPT_OSS_URL is set"}


def event(seq: int, kind: str, step: int = 0, **data: Any) -> dict[str, Any]:
    """Return an event as the server sends it."""
    return {"seq": seq, "at": "2026-11-20T10:00:00Z", "kind": kind, "run_no": 1, "step": step, "data": data}


@dataclass
class Script:
    """One task: what its stream says and where it breaks (bytes go out as they are), its result and its patch."""

    events: list[dict[str, Any] | str | bytes]
    result: dict[str, Any] = field(default_factory=dict)
    patch: bytes = b""
    stubborn: bool = False
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "running"
    dropped: set[int] = field(default_factory=set)

    def body(self) -> dict[str, Any]:
        """Return the task as `GET /tasks/{id}` does."""
        usage = {"steps": 2, "input_tokens": 900, "output_tokens": 100, "seconds": 1.5}
        head = {"task_id": self.id, "workspace_id": WORKSPACE, "status": self.status, "usage": usage, "model": MODEL}
        return {**head, **self.result, "status": self.status}


class OrchestratorDouble:
    """Answers with its scripts, in the order tasks are posted, and remembers what it was asked."""

    def __init__(self) -> None:
        self.scripts: list[Script] = []
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.posted: list[dict[str, Any]] = []
        self.cancelled: list[str] = []
        self.delivered: list[str] = []
        self.knows_delivered = True
        self.model_facts: dict[str, Any] = dict(MODEL)
        self.refusal: tuple[int, dict[str, Any]] | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.heard = {name: threading.Event() for name in ("post", "cancel")}
        self.url = ""
        self._next = 0

    def will(self, *events: dict[str, Any] | str | bytes, **options: Any) -> Script:
        """Add a task that will say this."""
        script = Script(list(events), **options)
        self.scripts.append(script)
        return script

    def will_succeed(self, answer: str = "It is a harbour.", **options: Any) -> Script:
        """Add a task of two steps that succeeds with an answer."""
        call = {"id": "c1", "name": "exec", "arguments": '{"command": "git ls-files"}'}
        result = {"answer": answer, **options.pop("result", {})}
        return self.will(
            event(1, "task.queued", query="q"),
            event(2, "task.started", model=MODEL),
            event(3, "container.ready", runtime="process", isolation="bubblewrap", why="bwrap works"),
            event(4, "workspace.ready", base={"commit": "a" * 40, "from": "fresh", "behind": 0}),
            event(5, "tool.intent", step=1, call=call),
            event(6, "tool.result", step=1, call_id="c1", name="exec", ok=True, text="README.md", seconds=0.25),
            event(7, "task.finished", step=2, status="succeeded", answer=answer),
            result=result,
            **options,
        )

    def app(self) -> Starlette:
        """Return the routes."""
        return Starlette(
            routes=[
                Route("/orchestrate", self._orchestrate, methods=["POST"]),
                Route("/tasks", self._list),
                Route("/tasks/{id}", self._read),
                Route("/tasks/{id}/events", _Stream(self)),
                Route("/tasks/{id}/diff", self._diff),
                Route("/tasks/{id}/cancel", self._cancel, methods=["POST"]),
                Route("/tasks/{id}/delivered", self._delivered, methods=["POST"]),
                Route("/containers", self._containers),
                Route("/containers/{id}/logs", self._container_logs),
                Route("/workspaces/{id}/grant", self._grant, methods=["POST"]),
                Route("/health", self._health),
            ]
        )

    def find(self, task_id: str) -> Script | None:
        """Return the script of a task."""
        return next((script for script in self.scripts if script.id == task_id), None)

    def note(self, request: Request) -> None:
        """Remember a request."""
        self.asked.append((request.method, str(request.url.path), dict(request.headers)))

    async def _orchestrate(self, request: Request) -> Response:
        self.note(request)
        self.posted.append(await request.json())
        self.heard["post"].set()
        await asyncio.to_thread(self.gate.wait, 10)
        if self.refusal is not None:
            return JSONResponse(self.refusal[1], status_code=self.refusal[0])
        script = self.scripts[self._next]
        self._next += 1
        return JSONResponse({**script.body(), "status": "queued"}, status_code=202)

    async def _list(self, request: Request) -> Response:
        self.note(request)
        wanted = request.query_params.get("status")
        chosen = [script for script in reversed(self.scripts) if wanted in (None, script.status)]
        start = int(request.query_params.get("cursor", "0"))
        page = [self._view(script) for script in chosen[start : start + 2]]
        return JSONResponse({"tasks": page, "next": str(start + 2) if len(chosen) > start + 2 else None})

    @staticmethod
    def _view(script: Script) -> dict[str, Any]:
        finished = None if script.status in ("queued", "running") else datetime.now(UTC).isoformat()
        head = {"task_id": script.id, "workspace_id": WORKSPACE, "status": script.status, "finished_at": finished}
        now = datetime.now(UTC).isoformat()
        return {**head, "repo_url": "https://host/owner/name.git", "query": "Fix the\nroof", "created_at": now}

    async def _read(self, request: Request) -> Response:
        self.note(request)
        script = self.find(request.path_params["id"])
        return JSONResponse(script.body()) if script else missing()

    async def _diff(self, request: Request) -> Response:
        script = self.find(request.path_params["id"])
        return Response(script.patch, media_type="text/x-diff") if script else missing()

    async def _cancel(self, request: Request) -> Response:
        script = self.find(request.path_params["id"])
        if script is None:
            return missing()
        if script.status in ("succeeded", "failed", "cancelled"):
            return error(409, "conflict", "The task has already ended.")
        self.cancelled.append(script.id)
        self.heard["cancel"].set()
        if not script.stubborn:
            script.status = "cancelled"
        return JSONResponse({"task_id": script.id, "status": script.status})

    async def _delivered(self, request: Request) -> Response:
        script = self.find(request.path_params["id"])
        if script is None or not self.knows_delivered:
            return missing()
        assert await request.body() == b""
        self.delivered.append(script.id)
        return JSONResponse(self._view(script))

    async def _containers(self, _: Request) -> Response:
        return JSONResponse({"containers": [{"id": WORKSPACE}]})

    async def _container_logs(self, request: Request) -> Response:
        if request.path_params["id"] != WORKSPACE:
            return error(404, "not_found", "There is no such container.")
        return PlainTextResponse("agent is up\n")

    async def _grant(self, _: Request) -> Response:
        return JSONResponse({"url": f"http://hub/ws/{WORKSPACE}/mcp", "token": "granted", "expires_s": 28800})

    async def _health(self, _: Request) -> Response:
        parts = {
            "model": {"state": "ok", "detail": "a model", "facts": self.model_facts},
            "runtime": {"state": "degraded", "detail": "no isolation"},
        }
        return JSONResponse({"status": "degraded", "service": "orchestrator", "version": "1", "parts": parts})


class _Stream:
    """`GET /tasks/{id}/events` as a plain ASGI app, so that it can break off in the middle."""

    def __init__(self, double: OrchestratorDouble) -> None:
        self._double = double

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        self._double.note(request)
        script = self._double.find(request.path_params["id"])
        if script is None:
            await missing()(scope, receive, send)
            return
        after = int(request.headers.get("last-event-id") or request.query_params.get("after", "0"))
        left = [(place, entry) for place, entry in enumerate(script.events) if _is_due(entry, after)]
        if "application/json" in request.headers["accept"]:
            page = [entry for _, entry in left if isinstance(entry, dict)][:3]
            await JSONResponse({"events": page})(scope, receive, send)
            return
        if not any(isinstance(entry, dict | bytes) for _, entry in left):
            await Response(status_code=204)(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for place, entry in left:
            if entry == DROP and place not in script.dropped:
                script.dropped.add(place)
                # Returning without the end of the body makes the server close the connection.
                return
            if entry == HOLD:
                while script.status == "running":
                    await asyncio.sleep(0.01)
            elif isinstance(entry, bytes):
                await send({"type": "http.response.body", "body": entry, "more_body": True})
            elif isinstance(entry, dict):
                await send({"type": "http.response.body", "body": sse(entry), "more_body": True})
                if entry["kind"] == "task.finished":
                    script.status = entry["data"]["status"]
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _is_due(entry: dict[str, Any] | str | bytes, after: int) -> bool:
    return not isinstance(entry, dict) or entry["seq"] == 0 or entry["seq"] > after


def sse(entry: dict[str, Any]) -> bytes:
    """Return an event as the server writes it: CRLF lines, and an id for stored ones only."""
    data = JSONResponse(entry).body
    number = f"id: {entry['seq']}\r\n" if entry["seq"] else ""
    return f": ping\r\n\r\n{number}event: {entry['kind']}\r\ndata: ".encode() + bytes(data) + b"\r\n\r\n"


def error(status: int, code: str, message: str) -> Response:
    """Return an error as every service answers it."""
    return JSONResponse({"error": {"code": code, "message": message, "request_id": "r"}}, status_code=status)


def missing() -> Response:
    """Return the answer for a task that does not exist."""
    return error(404, "not_found", "There is no such task; GET /tasks lists them.")


class _Switch:
    """The app of the test that runs now: starting and stopping a server takes longer than most tests."""

    def __init__(self) -> None:
        self.app: Starlette | None = None
        self.url = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        await self.app(scope, receive, send)


@pytest.fixture(scope="session")
def switch() -> Iterator[_Switch]:
    """A server on a socket of its own, for all tests of this process."""
    switch = _Switch()
    listener = socket.create_server(("127.0.0.1", 0))
    switch.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config = uvicorn.Config(switch, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield switch
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


@pytest.fixture
def orchestrator(switch: _Switch, monkeypatch: pytest.MonkeyPatch) -> Iterator[OrchestratorDouble]:
    """A double which MOORAGE_URL names."""
    double = OrchestratorDouble()
    switch.app = double.app()
    double.url = switch.url
    monkeypatch.setenv("MOORAGE_URL", double.url)
    monkeypatch.setenv("MOORAGE_TOKEN", "secret-token")
    yield double
    for script in double.scripts:
        # Ends what is still being held.
        script.status = "cancelled"
