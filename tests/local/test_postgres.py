"""The embedded Postgres with its real binaries, as root and as an ordinary user."""

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL

import psycopg
import pytest

from services.local.errors import LocalError
from services.local.postgres import EmbeddedPostgres, end_leftovers
from services.local.processes import Process, end, working_in
from services.local.unprivileged import NAMESPACE, NOBODY, Disguise, disguise

BINARY = Path("/bin/true")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path / "pg")
    yield server
    server.stop()


def start(server: EmbeddedPostgres) -> None:
    server.start(log=server.directory.parent / "postgres.log")


def ask(server: EmbeddedPostgres, statement: str) -> object:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def postmaster(server: EmbeddedPostgres) -> Process:
    pid = int((server.data / "postmaster.pid").read_text(encoding="utf-8").split()[0])
    found = Process.find(pid)
    assert found is not None
    return found


def modes_above(path: Path) -> list[tuple[Path, int, int]]:
    return [(parent, parent.stat().st_mode, parent.stat().st_uid) for parent in path.parents]


def test_data_survives_a_restart_on_the_same_port(server: EmbeddedPostgres) -> None:
    start(server)
    ask(server, "create table kept (n int)")
    ask(server, "insert into kept values (7)")
    port = server.port
    server.stop()
    assert working_in(server.data) == []

    start(server)

    assert ask(server, "select n from kept") == 7
    assert server.port == port


def test_it_is_durable_speaks_utf8_and_has_pgvector(server: EmbeddedPostgres) -> None:
    start(server)
    assert ask(server, "show fsync") == "on"
    assert ask(server, "show server_encoding") == "UTF8"
    ask(server, "create extension vector")
    assert ask(server, "select '[1,2]'::vector <-> '[1,4]'::vector") == 2.0


def test_a_wrong_password_and_none_are_refused(server: EmbeddedPostgres) -> None:
    start(server)
    password = server.url().split(":")[2].split("@")[0]
    for wrong in ("wrong", ""):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(server.url().replace(password, wrong))


def test_it_listens_on_loopback_only_and_on_no_unix_socket(server: EmbeddedPostgres) -> None:
    start(server)
    assert ask(server, "show listen_addresses") == "127.0.0.1"
    assert ask(server, "show unix_socket_directories") == ""
    assert [path for path in server.directory.rglob("*") if path.is_socket()] == []


def test_directories_above_keep_their_mode_and_owner_and_the_data_is_private(server: EmbeddedPostgres) -> None:
    before = modes_above(server.directory)
    start(server)
    assert modes_above(server.directory) == before
    for path in (server.directory, server.data, server.directory / "password"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_a_killed_postmaster_is_followed_by_one_that_recovers(server: EmbeddedPostgres) -> None:
    start(server)
    ask(server, "create table kept as select 7 as n")
    end([postmaster(server)], SIGKILL, 5)

    start(server)

    assert ask(server, "select n from kept") == 7


def test_a_postmaster_whose_supervisor_was_killed_is_taken_over(server: EmbeddedPostgres) -> None:
    start(server)
    old = postmaster(server)
    successor = EmbeddedPostgres(server.directory)

    start(successor)

    assert not old.alive
    assert ask(successor, "select 1") == 1
    successor.stop()


def test_a_lock_file_with_the_pid_of_another_program_is_no_obstacle(server: EmbeddedPostgres) -> None:
    start(server)
    server.stop()
    with subprocess.Popen(["/bin/sleep", "60"]) as bystander:
        (server.data / "postmaster.pid").write_text(f"{bystander.pid}\n{server.data}\n", encoding="utf-8")
        start(server)
        assert ask(server, "select 1") == 1
        assert bystander.poll() is None
        bystander.kill()


def test_a_taken_port_is_left_for_another_one(server: EmbeddedPostgres) -> None:
    server.prepare()
    with socket.create_server(("127.0.0.1", server.port)) as taken:
        start(server)
        assert server.port != taken.getsockname()[1]
        assert ask(server, "select 1") == 1


def test_an_interrupted_initdb_is_made_again(server: EmbeddedPostgres) -> None:
    server.directory.mkdir()
    (server.directory / "data.new").mkdir()
    (server.directory / "data.new" / "PG_VERSION").write_text("18\n", encoding="ascii")
    (server.directory / "password").write_text("of another one\n", encoding="ascii")
    start(server)
    assert ask(server, "select 1") == 1


def test_a_server_that_cannot_start_says_what_its_log_says(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg", settings={"shared_buffers": "nonsense"})
    with pytest.raises(LocalError, match="shared_buffers"):
        start(server)
    assert working_in(server.data) == []


def test_ending_leftovers_of_nothing_does_nothing(tmp_path: Path) -> None:
    end_leftovers(tmp_path / "never" / "made")
    assert not (tmp_path / "never").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another name")
@pytest.mark.parametrize("choice", [NAMESPACE, NOBODY], ids=["namespace", "nobody"])
def test_root_runs_it_in_both_disguises_below_a_directory_only_root_may_enter(tmp_path: Path, choice: Disguise) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    before = modes_above(closed / "pg")
    server = EmbeddedPostgres(closed / "pg", as_user=choice)
    try:
        start(server)
        assert ask(server, "select 1") == 1
        assert modes_above(closed / "pg") == before
    finally:
        server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another name")
def test_a_directory_made_in_one_disguise_is_opened_in_the_other(tmp_path: Path) -> None:
    for choice in (NOBODY, NAMESPACE, NOBODY):
        server = EmbeddedPostgres(tmp_path / "pg", as_user=choice)
        try:
            start(server)
            assert ask(server, "select 1") == 1
        finally:
            server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another name")
def test_root_without_any_disguise_is_told_of_database_url() -> None:
    with pytest.raises(LocalError, match="DATABASE_URL"):
        disguise(BINARY, choices=(Disguise(("false",), owner=0), Disguise(("no-such-program",), owner=0)))


ORDINARY = """
import os, pathlib, sys
from services.local.postgres import EmbeddedPostgres
import psycopg
assert os.geteuid() != 0
server = EmbeddedPostgres(pathlib.Path(sys.argv[1]) / "pg")
assert server.command and not server._disguise.prefix
try:
    server.start(log=pathlib.Path(sys.argv[1]) / "postgres.log")
    with psycopg.connect(server.url()) as connection:
        print("answer", connection.execute("select 42").fetchone()[0])
finally:
    server.stop()
"""


def test_an_ordinary_user_needs_no_disguise(tmp_path: Path) -> None:
    """Root becomes one in a user namespace: without any capability, yet able to read an interpreter below /root."""
    before = modes_above(tmp_path / "pg")
    become = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--"] if os.geteuid() == 0 else []
    argv = [*become, sys.executable, "-c", ORDINARY, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.returncode) == ("answer 42\n", 0), done.stderr
    assert modes_above(tmp_path / "pg") == before
    assert working_in(tmp_path / "pg" / "data") == []
