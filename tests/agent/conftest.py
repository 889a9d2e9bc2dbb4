"""The agent over one temporary work tree, and a repository to open."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.agent.settings import Settings
from tests.agent.support import Client, Repo, serving


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(workspace_id="ws-00000000000000000000", root=tmp_path / "tree", home=tmp_path / "home")


@pytest.fixture
async def agent(settings: Settings) -> AsyncIterator[Client]:
    async with serving(settings) as client:
        yield client


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo(tmp_path / "remote")
