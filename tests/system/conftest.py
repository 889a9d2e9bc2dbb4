"""Whole stacks, started as a person starts them, on homes and ports of their own."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.system.model_server import ModelServer

ROOT = Path(__file__).parents[2]
README = """# Tidewater

[![build](https://example.org/badge.svg)](https://example.org)

Tidewater predicts harbour tides from a handful of constants and prints a table for the week.

## Use

Run `python -m tidewater`.
"""


def git(directory: Path, *arguments: str) -> str:
    """Run git as a fixed author; return what it printed."""
    who = ("-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", "-C", str(directory), *who, *arguments], capture_output=True, check=True)
    return done.stdout.decode()


@dataclass(frozen=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str


@dataclass
class Stack:
    """A stack in its home."""

    home: Path
    port: int
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Its API."""
        return f"http://127.0.0.1:{self.port}"

    def cli(self, *arguments: str, timeout: float = 120, cwd: Path | None = None) -> Result:
        """Run the command line against this home."""
        done = subprocess.run(
            [sys.executable, "-m", "services.local", *arguments],
            env=self.environment,
            cwd=cwd or ROOT,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    @property
    def environment(self) -> dict[str, str]:
        """The command line's environment."""
        mine = {"MOORAGE_HOME": str(self.home), "MOORAGE_PORT": str(self.port), "PYTHONPATH": str(ROOT)}
        kept = {key: value for key, value in os.environ.items() if key not in ("LLM_API_KEY", "GPT_OSS_URL")}
        return {**kept, **mine, **self.extra}

    def client(self, **options: Any) -> httpx.Client:
        """An HTTP client of the API, without a token."""
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False, **options)

    def orchestrate(self, expect: int = 200, **body: Any) -> dict[str, Any]:
        """Send a request, wait for it, and return its answer."""
        with self.client() as client:
            answer = client.post("/orchestrate", json=body)
        assert answer.status_code == expect, answer.text
        return dict(answer.json())

    @property
    def token(self) -> str:
        """The home's API token."""
        return (self.home / "token").read_text().strip()

    def audit(self) -> list[dict[str, Any]]:
        """The hub's audit lines."""
        return [json.loads(line) for line in (self.home / "logs" / "audit.jsonl").read_text().splitlines()]


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(home: Path, **extra: str) -> Stack:
    """Start a stack in the background."""
    stack = Stack(home, free_port(), extra)
    up = stack.cli("up", "--detach")
    assert up.code == 0, up.err
    assert up.out.strip() == stack.url
    return stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with the offline engine."""
    stack = start(tmp_path_factory.mktemp("stack") / "home")
    yield stack
    assert stack.cli("down").code == 0


@pytest.fixture(scope="session")
def model() -> Iterator[ModelServer]:
    """A model that says what a test tells it to."""
    with ModelServer().serving() as server:
        yield server


@pytest.fixture(scope="session")
def modelled(tmp_path_factory: pytest.TempPathFactory, model: ModelServer) -> Iterator[Stack]:
    """A stack whose model is that one."""
    stack = start(tmp_path_factory.mktemp("modelled") / "home", GPT_OSS_URL=model.url)
    yield stack
    assert stack.cli("down").code == 0


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A small project with a history."""
    path = tmp_path / "tidewater"
    (path / "tidewater").mkdir(parents=True)
    (path / "README.md").write_text(README)
    (path / "pyproject.toml").write_text('[project]\nname = "tidewater"\nversion = "1"\n')
    (path / "tidewater" / "__init__.py").write_text('"""Tides."""\n')
    (path / "tidewater" / "table.py").write_text("def week(constants):\n    return [c * 2 for c in constants]\n")
    (path / "docs").mkdir()
    (path / "docs" / "index.md").write_text("# Docs\n")
    git(path, "init", "-q")
    git(path, "add", "-A")
    git(path, "commit", "-qm", "Begin")
    return path
