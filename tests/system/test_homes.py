"""Homes and the stacks in them: independent of each other, up and down as often as one likes, nothing left behind."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.local.home import Home
from services.local.processes import Process, marked
from tests.system.conftest import Stack, free_port, git, start
from tests.system.model_server import ModelServer


def left_of(stack: Stack) -> list[str]:
    """Command lines of the processes, and paths of the sockets, that a home still has."""
    home = Home(stack.home)
    words = [
        Path(f"/proc/{process.pid}/cmdline").read_bytes().decode(errors="replace")
        for process in marked("MOORAGE_HOME_MARK", home.mark)
    ]
    sockets = [path for folder in {stack.home, home.run_dir} for path in folder.rglob("*") if path.is_socket()]
    return words + [str(path) for path in sockets]


def wait_until_gone(stack: Stack, limit_s: float = 15.0) -> None:
    """Wait for the processes of a home to end by themselves."""
    deadline = time.monotonic() + limit_s
    while marked("MOORAGE_HOME_MARK", Home(stack.home).mark):
        assert time.monotonic() < deadline, left_of(stack)
        time.sleep(0.03)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, model: ModelServer) -> Iterator[Stack]:
    """A stack on a machine without bubblewrap."""
    path = tmp_path_factory.mktemp("path")
    for folder in reversed(os.environ["PATH"].split(os.pathsep)):
        for program in Path(folder).glob("*"):
            if program.name != "bwrap":
                (path / program.name).unlink(missing_ok=True)
                (path / program.name).symlink_to(program)
    assert shutil.which("bwrap", path=str(path)) is None
    stack = start(tmp_path_factory.mktemp("bare") / "home", PATH=str(path), GPT_OSS_URL=model.url)
    yield stack
    assert stack.cli("down").code == 0


@pytest.mark.full
def test_a_stack_goes_up_and_down_and_survives_its_supervisor(bare: Stack, tmp_path: Path, repository: Path) -> None:
    stack = start(tmp_path / "home")
    again = stack.cli("up", "--detach")
    assert (again.code, again.out.strip()) == (0, stack.url)
    assert "up already" in again.err
    result = stack.orchestrate(query="List files", repo_url=str(repository))

    with bare.client(headers={"Authorization": f"Bearer {bare.token}"}) as client:
        assert client.get(f"/tasks/{result['task_id']}").status_code == 404
        assert client.get("/tasks", headers={"Authorization": f"Bearer {stack.token}"}).status_code == 401
    assert Home(stack.home).mark != Home(bare.home).mark

    ledger = json.loads((stack.home / "stack.json").read_text())
    supervisor = Process.find(ledger["supervisor"]["pid"])
    assert supervisor is not None
    supervisor.signal(signal.SIGKILL)
    wait_until_gone(stack)
    assert stack.cli("down").code == 0
    assert left_of(stack) == []

    assert stack.cli("up", "--detach").code == 0
    with stack.client() as client:
        assert client.get(f"/tasks/{result['task_id']}").json() == result
    assert stack.orchestrate(query="List files", repo_url=str(repository))["status"] == "succeeded"
    assert stack.cli("down").code == 0
    assert left_of(stack) == []
    down = stack.cli("down")
    assert (down.code, "nothing ran" in down.err) == (0, True)
    with bare.client() as client:
        assert client.get("/ready").status_code == 200


def test_a_taken_port_is_named_with_the_way_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        stack = Stack(tmp_path / "home", port)
        for command in (("up", "--detach"), ("run", "List files"), ("up",)):
            refused = stack.cli(*command)
            assert refused.code == 69
            assert refused.out == ""
            said = refused.err.strip().splitlines()[-1]
            assert f"Port {port}" in said
            assert "--port" in said
            assert "Traceback" not in refused.err
    assert left_of(stack) == []


def test_a_home_that_cannot_be_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    for home in (tmp_path / "file", tmp_path / "file" / "below", shared):
        refused = Stack(home, free_port()).cli("up", "--detach")
        assert (refused.code, "MOORAGE_HOME" in refused.err) == (69, True)
        assert "Traceback" not in refused.err
    assert (tmp_path / "file").read_text() == "mine"


def test_without_isolation_it_is_said_everywhere(bare: Stack, model: ModelServer, repository: Path) -> None:
    model.script("Fine.")
    told = bare.cli("run", "Anything?", "--repo", str(repository))
    assert (told.code, told.out.strip()) == (0, "Fine.")
    assert "isolation" in told.err
    with bare.client(headers={"Authorization": f"Bearer {bare.token}"}) as client:
        runtime = client.get("/health").json()["parts"]["runtime"]
        containers = client.get("/containers").json()["containers"]
    assert (runtime["state"], runtime["facts"]["isolation"]) == ("degraded", "none")
    assert "bubblewrap is not installed" in runtime["detail"]
    assert [container["isolation"] for container in containers] == ["none"]


def test_without_isolation_loopback_needs_the_token(bare: Stack, model: ModelServer, repository: Path) -> None:
    model.script("Fine.")
    body = {"query": "q", "repo_url": str(repository)}
    with bare.client() as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            refused = client.post("/orchestrate", json=body, headers=headers)
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "unauthenticated")
            assert "token" in refused.json()["error"]["message"]
        answer = client.post("/orchestrate", json=body, headers={"Authorization": f"Bearer {bare.token}"})
    assert answer.json()["status"] == "succeeded"


def test_without_isolation_the_job_is_done_and_stopping_ends_its_processes(
    bare: Stack, model: ModelServer, repository: Path, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    # In a session of its own, as a server that an agent started would be.
    linger = f"setsid sleep 300 >/dev/null 2>&1 & echo $! > {pid}; echo edited >> README.md"
    model.script([("shell__exec", {"command": linger})], "Edited.")
    with bare.client(headers={"Authorization": f"Bearer {bare.token}"}) as client:
        result = client.post("/orchestrate", json={"query": "q", "repo_url": str(repository)}).json()
        assert result["status"] == "succeeded", result
        patch = client.get(result["changes"]["patch_url"]).content
        git(tmp_path, "clone", "-q", str(repository), "clone")
        subprocess.run(["git", "-C", str(tmp_path / "clone"), "apply", "-"], input=patch, check=True)
        assert (tmp_path / "clone" / "README.md").read_text().endswith("edited\n")
        lingering = Process.find(int(pid.read_text()))
        assert lingering is not None
        assert client.post(f"/containers/{result['workspace_id']}/stop").json()["state"] == "stopped"
    assert not lingering.alive
