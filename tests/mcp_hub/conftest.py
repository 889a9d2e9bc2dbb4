"""A real hub on a real socket with its doubles beside it, and git repositories."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from services.mcp_hub.main import create
from services.mcp_hub.settings import Settings
from services.wire.hub import AgentAddress
from tests.mcp_hub.support import SECRET, FakeAgent, FakeOrchestrator, Hub, Servers, StartHub, git, loopback


@pytest.fixture
def servers() -> Iterator[Servers]:
    started = Servers()
    yield started
    started.stop()


@pytest.fixture
def agent(tmp_path: Path, servers: Servers) -> FakeAgent:
    fake = FakeAgent(address=f"unix:{tmp_path}/agent.sock")
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(tmp_path / "agent.sock"))
    servers.start(fake.app(), sock)
    return fake


@pytest.fixture
def orchestrator(agent: FakeAgent, servers: Servers) -> FakeOrchestrator:
    sock, port = loopback()
    fake = FakeOrchestrator(address=f"http://127.0.0.1:{port}")
    fake.reply = AgentAddress(address=agent.address, epoch=3, run_no=7, busy=False)
    servers.start(Starlette(routes=[Route("/{path:path}", fake.answer, methods=["POST"])]), sock)
    return fake


@pytest.fixture
def start_hub(tmp_path: Path, servers: Servers) -> StartHub:
    def start(**settings: Any) -> Hub:
        sock, port = loopback()
        given = {"state_dir": tmp_path / "hub", "audit_file": tmp_path / "audit.jsonl", **settings}
        made = Settings(MOORAGE_SERVICE_SECRET=SECRET, **given)
        servers.start(create(made), sock)
        return Hub(f"http://127.0.0.1:{port}", made.state_dir, made.audit_file)

    return start


@pytest.fixture
def hub(start_hub: StartHub) -> Hub:
    return start_hub()


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the machine's git configuration and credentials out of the tests."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with two branches and a tag."""
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    (path / "README.md").write_text("# Sample\n")
    (path / ".gitignore").write_text("ignored.txt\n")
    git(path, "add", "-A")
    git(path, "commit", "-qm", "first")
    git(path, "tag", "v1")
    git(path, "branch", "feature/login")
    (path / "code.py").write_text("print(1)\n")
    git(path, "add", "-A")
    git(path, "commit", "-qm", "second")
    return path
