"""A whole stack of real services in a home of its own: up, down, and what kills leave behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from services.local import ledger, stack
from services.local.errors import LocalError
from services.local.home import Home
from services.local.leftovers import MARK, sweep
from services.local.processes import Process, marked, working_in


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    for name in ("DATABASE_URL", "GPT_OSS_URL", "LLM_API_KEY", "MOORAGE_PORT", "MOORAGE_HOME"):
        monkeypatch.delenv(name, raising=False)
    home = Home.find(tmp_path / "home")
    yield home
    stack.down(home)


def until(condition: Callable[[], bool], limit_s: float = 20) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ready(address: str) -> bool:
    with httpx.Client(trust_env=False, timeout=5) as client:
        return client.get(f"{address}/ready").status_code == 200


def assert_nothing_left(home: Home) -> None:
    assert marked(MARK, home.mark) == []
    assert working_in(home.pg / "data") == []
    assert not home.stack_file.exists()
    assert not home.run_dir.exists()
    assert [path for path in home.path.rglob("*") if path.is_socket()] == []


def process(home: Home, name: str) -> stack.ProcessStatus:
    return next(one for one in stack.status(home).processes if one.name == name)


def kill(pid: int) -> None:
    found = Process.find(pid)
    assert found is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: not found.alive)


def test_a_stack_comes_up_once_survives_deaths_and_goes_down_without_a_trace(home: Home) -> None:
    steps: list[str] = []
    first = stack.up(home, port=0, progress=steps.append)
    assert first.started
    assert first.token == home.token
    assert ready(first.address)
    assert "starting orchestrator" in steps

    again = stack.ensure_up(home)
    assert (again.address, again.started) == (first.address, False)
    with pytest.raises(LocalError, match=r"\./moorage down"):
        stack.up(home, port=1)
    names = {one.name for one in stack.status(home).processes if one.alive}
    assert names == {"supervisor", "postgres", "engine", "hub", "orchestrator"}
    assert home.token not in home.stack_file.read_text(encoding="utf-8")

    for name in ("postgres", "orchestrator"):
        kill(process(home, name).pid)
        until(lambda name=name: process(home, name).restarts == 1 and ready(first.address))  # type: ignore[misc]

    assert stack.down(home)
    assert_nothing_left(home)
    assert not stack.down(home)


def test_two_simultaneous_ups_give_one_stack(home: Home) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: stack.up(home, port=0), range(2)))
    assert both[0].address == both[1].address
    assert sorted(one.started for one in both) == [False, True]


def test_after_a_killed_supervisor_the_next_up_and_the_next_down_work(home: Home) -> None:
    stack.up(home, port=0)
    kill(process(home, "supervisor").pid)
    assert not stack.status(home).up

    assert ready(stack.up(home, port=0).address)

    kill(process(home, "supervisor").pid)
    stack.down(home)
    assert_nothing_left(home)


@pytest.mark.parametrize("detach", [True, False])
def test_a_taken_port_is_one_sentence_at_once_and_nothing_is_left(home: Home, detach: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            LocalError, match=rf"^Port {port} cannot be used \(address already in use\); set MOORAGE_PORT=.*--port"
        ):
            stack.up(home, port=port, detach=detach)
    assert_nothing_left(home)


def test_a_stack_that_cannot_start_says_why_on_one_line_and_names_the_log(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_LOG_LEVEL", "nonsense")
    with pytest.raises(LocalError, match=r"^orchestrator ended with code 1: .*log_level.*orchestrator\.log\)$"):
        stack.up(home, port=0)
    assert_nothing_left(home)


def test_down_ends_what_a_killed_stack_left_and_nothing_else(home: Home) -> None:
    home.prepare()
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    with (
        subprocess.Popen(sleep, env={MARK: home.mark}) as ours,
        subprocess.Popen(sleep, env={MARK: "of another home"}) as other,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        listener.bind(str(home.run_dir / "old.sock"))
        stack.down(home)
        assert ours.wait(5) == -signal.SIGTERM
        assert other.poll() is None
        other.kill()
    assert_nothing_left(home)


def test_status_of_a_home_without_a_stack_is_down(home: Home) -> None:
    assert stack.status(home) == stack.StackStatus(up=False)
    home.prepare()
    home.stack_file.write_text("not a ledger", encoding="utf-8")
    assert ledger.read(home) is None
    sweep(home)


@pytest.mark.parametrize(
    ("given", "env", "chosen"), [(None, {}, 8080), (None, {"MOORAGE_PORT": "9"}, 9), (7, {"MOORAGE_PORT": "9"}, 7)]
)
def test_the_port_is_the_one_given_else_the_environments_else_8080(
    given: int | None, env: dict[str, str], chosen: int
) -> None:
    assert stack.choose_port(given, env) == chosen


@pytest.mark.parametrize(("given", "env"), [(70000, {}), (-1, {}), (None, {"MOORAGE_PORT": "eighty"})])
def test_a_port_that_is_none_is_refused(given: int | None, env: dict[str, str]) -> None:
    with pytest.raises(LocalError, match="1 to 65535"):
        stack.choose_port(given, env)
