"""A client of the engine's app, and a small real repository."""

import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from openai import AsyncOpenAI

from services.gpt_oss.main import build
from services.gpt_oss.settings import Settings
from services.mcp_hub.local_tree import _MESSAGE as SNAPSHOT
from tests.gpt_oss.hands import Hands

FILES = {
    "README.md": (
        "# Ferry\n\n[![CI](https://ci/badge.svg)](https://ci)\n\n"
        "Ferry carries parcels between harbours and keeps a **log** of every crossing.\n\n"
        "## Installation\n\nRun `pip install ferry` in your environment.\n\n## Usage\n\nCall `ferry sail` to start.\n"
    ),
    "pyproject.toml": (
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n\n'
        '[project]\nname = "ferry"\nversion = "1.0"\ndescription = "Parcels across the water"\n'
        'requires-python = ">=3.11"\ndependencies = ["httpx>=0.28"]\n\n[tool.pytest.ini_options]\n'
    ),
    "LICENSE": "MIT License\n\nCopyright (c) 2026 The Ferry\n",
    ".gitignore": "*.pyc\n",
    "src/ferry/__init__.py": '"""Parcels."""\n',
    "src/ferry/boat.py": (
        '"""Boats and what they carry."""\n\n\nclass Boat:\n    """A vessel."""\n\n'
        '    def sail(self, harbour: str) -> None:\n        """Leave for a harbour."""\n        # TODO check the tide\n'
        "        self.harbour = harbour\n\n\ndef load(boat, *parcels, heavy=False):\n    return boat, parcels\n"
    ),
    "tests/test_boat.py": "def test_a_boat_floats():\n    assert True\n",
    "docs/guide.md": "# Guide\n\nThe harbour master decides.\n",
}


@pytest.fixture
async def client() -> AsyncIterator[AsyncOpenAI]:
    transport = httpx.ASGITransport(build(Settings()))
    http = httpx.AsyncClient(transport=transport, base_url="http://engine")
    async with AsyncOpenAI(base_url="http://engine/v1", api_key="none", http_client=http, max_retries=0) as opened:
        yield opened


@pytest.fixture
def hands(tmp_path: Path) -> Hands:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    commit(tmp_path, "Start the ferry", first=True)
    (tmp_path / "docs/guide.md").write_text("# Guide\n\nThe captain decides.\n")
    commit(tmp_path, "Let the captain decide")
    return Hands(tmp_path)


@pytest.fixture
def dirty(hands: Hands) -> Hands:
    """The repository as a task sees it whose user has edits: they are one more commit, by the hub."""
    (hands.root / "docs/guide.md").write_text("# Guide\n\nThe crew decides.\n")
    (hands.root / "notes.txt").write_text("ahoy\n")
    commit(hands.root, SNAPSHOT, author=("Moorage", "moorage@localhost"))
    return hands


def commit(
    root: Path, message: str, *, first: bool = False, author: tuple[str, str] = ("Ada", "ada@example.org")
) -> None:
    identity = ["-c", f"user.name={author[0]}", "-c", f"user.email={author[1]}", "-c", "commit.gpgsign=false"]
    if first:
        subprocess.run(["git", "init", "-q", "-b", "main"], cwd=root, check=True)
    subprocess.run(["git", "add", "-A"], cwd=root, check=True)
    subprocess.run(["git", *identity, "commit", "-q", "-m", message], cwd=root, check=True)
