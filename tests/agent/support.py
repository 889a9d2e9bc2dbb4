"""A real agent app without a socket, its client, and real git repositories to open."""

import contextlib
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

from services.agent.main import create
from services.agent.settings import Settings
from services.wire.agent import RUN_HEADER


class Repo:
    """A git repository that people push to; the agent fetches from it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        self.git("config", "uploadpack.allowAnySHA1InWant", "true")

    def git(self, *args: str, stdin: bytes | None = None) -> str:
        return self.raw(*args, stdin=stdin).decode("utf-8", "replace").strip()

    def raw(self, *args: str, stdin: bytes | None = None) -> bytes:
        identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
        return subprocess.run(
            ["git", *identity, *args], cwd=self.path, input=stdin, capture_output=True, check=True
        ).stdout

    def commit(self, files: dict[str, str | bytes | None], message: str = "change") -> str:
        for name, content in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.git("add", "-A", "-f")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    @property
    def url(self) -> str:
        return f"file://{self.path}"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Client:
    """Calls of one agent."""

    def __init__(self, http: httpx.AsyncClient, root: Path) -> None:
        self.http = http
        self.root = root

    async def raw(self, method: str, path: str, body: Any = None, run: int | str | None = None) -> httpx.Response:
        headers = {} if run is None else {RUN_HEADER: str(run)}
        return await self.http.request(method, path, json=body, headers=headers)

    async def post(self, route: str, /, run: int | None = None, **body: Any) -> dict[str, Any]:
        response = await self.raw("POST", route, body, run)
        assert response.status_code == 200, response.text
        reply: dict[str, Any] = response.json()
        return reply

    async def refused(self, route: str, /, run: int | None = None, **body: Any) -> tuple[int, str, str]:
        response = await self.raw("POST", route, body, run)
        error = response.json()["error"]
        return response.status_code, error["code"], error["message"]

    async def exec(self, command: str | list[str], **body: Any) -> dict[str, Any]:
        return await self.post("/exec", command=command, **body)

    async def open(self, repo: Repo | None = None, commit: str | None = None, **body: Any) -> dict[str, Any]:
        return await self.post("/open", remote=repo.url if repo else None, commit=commit, **body)

    async def changes(self) -> dict[str, Any]:
        response = await self.raw("GET", "/changes")
        assert response.status_code == 200, response.text
        reply: dict[str, Any] = response.json()
        return reply


@contextlib.asynccontextmanager
async def serving(settings: Settings, **options: Any) -> AsyncIterator[Client]:
    """Yield a client of an agent with these settings, without a socket."""
    app = create(settings, **{"protocols": ("file",), **options})
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            scope["state"] = dict(state or {})
            await app(scope, receive, send)

        transport = httpx.ASGITransport(app=with_state, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://agent", timeout=30) as http:
            yield Client(http, settings.root.resolve())
