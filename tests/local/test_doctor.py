"""The doctor: what it says of programs, ports, databases and endpoints that are there, broken or missing."""

import json
import shutil
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from services.local import doctor
from services.local.doctor import CheckState
from services.local.home import Home
from services.local.programs import install_line, sandbox_problem
from services.local.stack import StackStatus

DOWN = StackStatus(up=False)


@pytest.fixture
def bare_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing but apt-get, for programs of the test's own."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    program(programs, "apt-get", "exit 0")
    return programs


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


@pytest.fixture
def endpoint(request: pytest.FixtureRequest) -> Iterator[str]:
    """An HTTP server that answers everything with the test's parameter."""
    body: bytes = request.param

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in {"/v1/models", "/health"} else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_everything_is_looked_at_without_a_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "GPT_OSS_URL", "LLM_API_KEY", "MOORAGE_PORT"):
        monkeypatch.delenv(name, raising=False)
    checks = {check.name: check for check in doctor.examine(Home.find(tmp_path / "home"), port=0)}
    assert list(checks) == ["python", "git", "sandbox", "ripgrep", "home", "port", "postgres", "model", "stack"]
    for name in ("python", "git", "home", "port", "postgres", "stack"):
        assert checks[name].state is CheckState.OK, checks[name]
    assert "18" in checks["postgres"].detail
    assert checks["model"].state is CheckState.WARN


def test_every_check_that_is_not_ok_has_a_remedy(bare_path: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    checks = [
        doctor.check_git(),
        doctor.check_sandbox(),
        doctor.check_ripgrep(),
        doctor.check_home(Home(tmp_path / "file")),
        doctor.check_postgres({"DATABASE_URL": "postgresql://u:very-secret@127.0.0.1:1/db"}),
        doctor.check_model({}),
    ]
    assert [check.state for check in checks] == ["fail", "warn", "warn", "fail", "fail", "warn"]
    assert [check.name for check in checks if not check.remedy] == []
    assert "very-secret" not in "".join(f"{check.detail} {check.remedy}" for check in checks)


def test_an_old_git_fails_one_that_cannot_pin_warns_and_a_new_one_is_fine(bare_path: Path) -> None:
    program(bare_path, "git", "echo git version 2.30.9")
    assert doctor.check_git().state is CheckState.FAIL
    program(bare_path, "git", "echo 'git version 2.31.0.rc1 (Apple Git-1)'")
    old = doctor.check_git()
    assert (old.state, "not pinned" in old.detail) == (CheckState.WARN, True)
    program(bare_path, "git", "echo git version 2.37.0")
    assert doctor.check_git().state is CheckState.OK


def test_the_install_line_is_for_this_systems_package_manager(bare_path: Path) -> None:
    assert install_line("git", root=True) == "apt-get install -y git"
    assert install_line("git", root=False) == "sudo apt-get install -y git"
    (bare_path / "apt-get").unlink()
    program(bare_path, "brew", "exit 0")
    assert install_line("git", root=False) == "brew install git"


def test_a_bubblewrap_that_is_refused_is_no_sandbox(bare_path: Path) -> None:
    program(bare_path, "bwrap", "echo 'bwrap: setting up uid map: Permission denied' >&2; exit 1")
    problem = sandbox_problem()
    assert problem is not None
    assert "bubblewrap does not work here" in problem


@pytest.mark.sandbox
def test_a_working_bubblewrap_is_a_sandbox() -> None:
    assert sandbox_problem() is None
    assert doctor.check_sandbox().state is CheckState.OK


def test_a_taken_port_fails_with_another_one_and_our_own_is_fine() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        check = doctor.check_port(port, DOWN)
        assert (check.state, check.remedy) == (CheckState.FAIL, f"./moorage up --port {port + 1}")
        assert check.detail == f"{port} cannot be used (address already in use)"
        ours = StackStatus(up=True, address=f"http://127.0.0.1:{port}")
        assert doctor.check_port(port, ours).state is CheckState.OK


def test_a_reachable_database_url_is_named_with_its_version(postgres_url: str) -> None:
    check = doctor.check_postgres({"DATABASE_URL": postgres_url})
    assert (check.state, check.detail) == (CheckState.OK, "DATABASE_URL, Postgres 18")


@pytest.mark.parametrize("endpoint", [b'{"data": [{"id": "gpt-oss-20b"}]}'], indirect=True)
@pytest.mark.parametrize("suffix", ["", "/", "/v1"])
def test_an_endpoint_that_serves_models_is_fine(endpoint: str, suffix: str) -> None:
    check = doctor.check_model({"GPT_OSS_URL": endpoint + suffix})
    assert (check.state, check.detail) == (CheckState.OK, "GPT_OSS_URL serves gpt-oss-20b")


@pytest.mark.parametrize("endpoint", [b"<html>", b'{"data": [{}]}', b"[]", b'{"data": 7}'], indirect=True)
def test_an_endpoint_that_answers_something_else_fails(endpoint: str) -> None:
    assert doctor.check_model({"GPT_OSS_URL": endpoint}).state is CheckState.FAIL


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "not a url", "http://[", "ftp://127.0.0.1"])
def test_an_endpoint_that_cannot_be_reached_fails(url: str) -> None:
    assert doctor.check_model({"GPT_OSS_URL": url}).state is CheckState.FAIL


HEALTH = {
    "status": "degraded",
    "service": "orchestrator",
    "version": "0.1.0",
    "parts": {"database": {"state": "ok", "detail": "answers"}, "runtime": {"state": "degraded", "detail": "none"}},
}


@pytest.mark.parametrize("endpoint", [json.dumps(HEALTH).encode()], indirect=True)
def test_the_parts_of_a_running_stack_are_checks(endpoint: str, tmp_path: Path) -> None:
    checks = doctor.check_stack(Home.find(tmp_path / "home"), StackStatus(up=True, address=endpoint))
    assert [(check.name, check.state) for check in checks] == [
        ("stack", CheckState.WARN),
        ("stack: database", CheckState.OK),
        ("stack: runtime", CheckState.WARN),
    ]


def test_a_running_stack_with_other_model_settings_is_a_warning_that_says_down(tmp_path: Path) -> None:
    home = Home.find(tmp_path / "home")
    home.prepare()
    home.stack_file.write_text('{"model": {}}', encoding="utf-8")
    env = {"GPT_OSS_URL": "http://127.0.0.1:1"}
    (check,) = doctor.check_settings(home, StackStatus(up=True), env)
    assert (check.state, check.remedy) == (CheckState.WARN, "./moorage down")
    assert doctor.check_settings(home, StackStatus(up=True), {}) == []
    assert "./moorage down" in str(doctor.check_model({}, up=True).remedy)
    assert "./moorage down" in str(doctor.check_model(env, up=True).remedy)


@pytest.mark.parametrize("endpoint", [b"nonsense"], indirect=True)
def test_a_stack_that_answers_nonsense_fails(endpoint: str, tmp_path: Path) -> None:
    (check,) = doctor.check_stack(Home.find(tmp_path / "home"), StackStatus(up=True, address=endpoint))
    assert check.state is CheckState.FAIL


def test_little_room_on_the_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    assert doctor.check_home(Home.find(tmp_path / "home")).state is CheckState.WARN
