"""Fixtures every test folder uses: real databases, and the programs some tests need."""

import os
import secrets
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from services.local.home import Home
from services.local.postgres import EmbeddedPostgres
from services.local.programs import install_line, sandbox_problem, sandbox_remedy

ALL = os.environ.get("MOORAGE_TEST_ALL") == "1"


def pytest_configure() -> None:
    """Hear Ctrl-C, and let the programs under test hear it: a shell's background job is started deaf to it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _no_socket_directory_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Remove the directories in /tmp of the homes that tests made: their paths are too long for sockets inside."""
    yield
    for place, folders, _ in os.walk(tmp_path_factory.getbasetemp()):
        if {"logs", "mirrors"} <= set(folders):
            folders.clear()
            shutil.rmtree(Home.find(place).run_dir, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """One embedded Postgres per test process; durability is off, its own tests start their own."""
    directory: Path = tmp_path_factory.mktemp("postgres")
    server = EmbeddedPostgres(directory / "pg", settings={"fsync": "off", "synchronous_commit": "off"})
    server.start(log=directory / "postgres.log")
    yield server
    server.stop()


@pytest.fixture
def postgres_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The DSN of an empty database that lives as long as the test."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    yield postgres.url(name)
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


def _no_sandbox() -> str | None:
    problem = sandbox_problem()
    return f"{problem}; {sandbox_remedy(root=os.geteuid() == 0)}" if problem else None


def _without(program: str, package: str) -> str | None:
    if shutil.which(program):
        return None
    return f"{package} is not installed; {install_line(package, root=os.geteuid() == 0)}"


NEEDS: dict[str, Callable[[], str | None]] = {
    "sandbox": _no_sandbox,
    "ripgrep": lambda: _without("rg", "ripgrep"),
    "curl": lambda: _without("curl", "curl"),
}
"""What a marker's tests need: says why it is not there and how to get it, or nothing."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a program that is not there; with `--all` its absence is an error instead."""
    for marker, problem_of in NEEDS.items():
        marked = [item for item in items if item.get_closest_marker(marker)]
        if not marked or (problem := problem_of()) is None:
            continue
        for item in marked:
            item.add_marker(pytest.mark.absent(problem) if ALL else pytest.mark.skip(reason=problem))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a test whose program is absent although the full suite was asked for."""
    if absent := item.get_closest_marker("absent"):
        pytest.fail(absent.args[0], pytrace=False)
