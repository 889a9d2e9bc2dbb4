"""Fixtures every test folder uses: real databases, and the programs some tests need."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from services.local.postgres import EmbeddedPostgres
from services.local.programs import sandbox_problem, sandbox_remedy

ALL = os.environ.get("MOORAGE_TEST_ALL") == "1"


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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `sandbox` where bubblewrap cannot make one; with `--all` its absence is an error instead."""
    marked = [item for item in items if item.get_closest_marker("sandbox")]
    problem = sandbox_problem() if marked else None
    if problem is None:
        return
    reason = f"{problem}; {sandbox_remedy(root=os.geteuid() == 0)}"
    for item in marked:
        item.add_marker(pytest.mark.usefixtures("demanded_sandbox") if ALL else pytest.mark.skip(reason=reason))


@pytest.fixture
def demanded_sandbox() -> None:
    """Fail a test that needs a sandbox, as none can be made here and the full suite was asked for."""
    pytest.fail(f"{sandbox_problem()}; {sandbox_remedy(root=os.geteuid() == 0)}", pytrace=False)
