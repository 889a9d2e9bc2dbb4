"""The agent as a process on a listening Unix socket it inherits: disconnects, signals, orphans, its parent's end."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from services.wire.agent import AgentHealth
from tests.agent.support import Client
from tests.agent.test_shell import processes, until_gone


def environment(tmp_path: Path, descriptor: int, **more: str) -> dict[str, str]:
    return {
        "PATH": os.defpath,
        "AGENT_WORKSPACE_ID": "ws-00000000000000000000",
        "AGENT_ROOT": str(tmp_path / "tree"),
        "AGENT_HOME": str(tmp_path / "home"),
        "AGENT_FD": str(descriptor),
        **more,
    }


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        yield listener


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    with listening(tmp_path / "agent.sock") as listener:
        started = subprocess.Popen(
            [sys.executable, "-m", "services.agent.main"],
            env=environment(tmp_path, listener.fileno()),
            pass_fds=(listener.fileno(),),
        )
    yield started
    started.terminate()
    try:
        started.wait(5)
    finally:
        started.kill()


@pytest.fixture
async def running(process: subprocess.Popen[bytes], tmp_path: Path) -> AsyncIterator[Client]:
    transport = httpx.AsyncHTTPTransport(uds=str(tmp_path / "agent.sock"))
    async with httpx.AsyncClient(transport=transport, base_url="http://agent", timeout=20) as http:
        client = Client(http, tmp_path / "tree")
        await client.raw("GET", "/health")
        yield client


async def until(path: Path) -> None:
    async with asyncio.timeout(5):
        while not path.exists():
            await asyncio.sleep(0.01)


async def test_a_client_that_goes_away_takes_its_command_with_it(running: Client) -> None:
    sleep = "exec -a gone-7791 sleep 300"
    async with asyncio.TaskGroup() as group:
        call = group.create_task(running.exec(f"touch begun; (setsid bash -c '{sleep}' &); {sleep}"))
        await until(running.root / "begun")
        started = time.monotonic()
        call.cancel()
    await until_gone("gone-7791")

    assert time.monotonic() - started < 2
    assert (await running.exec("echo next"))["output"] == "next\n"


async def test_sigterm_ends_commands_and_the_process_within_two_seconds(
    running: Client, process: subprocess.Popen[bytes]
) -> None:
    async with asyncio.TaskGroup() as group:
        sleep = "exec -a stopped-7792 sleep 300"
        command = f"trap '' TERM; setsid bash -c '{sleep}' & touch begun; {sleep}"
        answer = group.create_task(running.raw("POST", "/exec", {"command": command}))
        await until(running.root / "begun")
        started = time.monotonic()
        process.terminate()

    assert answer.result().json()["error"]["code"] == "not_ready"
    await asyncio.to_thread(process.wait, 5)
    assert time.monotonic() - started < 2
    await until_gone("stopped-7792")


async def test_orphans_are_buried_and_health_names_the_process(
    running: Client, process: subprocess.Popen[bytes]
) -> None:
    for _ in range(5):
        await running.exec("(setsid bash -c 'sleep 0.01' &)")
    health = AgentHealth.model_validate_json((await running.raw("GET", "/health")).content)
    assert health == AgentHealth(status="ok", workspace_id="ws-00000000000000000000", pid=process.pid, run_no=0)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    async with asyncio.timeout(5):
        while children.read_text():
            await asyncio.sleep(0.02)


async def test_it_ends_with_its_parent_and_so_do_its_commands(tmp_path: Path) -> None:
    with listening(tmp_path / "agent.sock") as listener:
        agent_argv = "[sys.executable, '-m', 'services.agent.main']"
        script = f"import subprocess, sys, time; subprocess.Popen({agent_argv}, close_fds=False); time.sleep(300)"
        parent = subprocess.Popen(
            [sys.executable, "-c", script],
            env=environment(tmp_path, listener.fileno(), AGENT_DIE_WITH_PARENT="true"),
            pass_fds=(listener.fileno(),),
        )
    transport = httpx.AsyncHTTPTransport(uds=str(tmp_path / "agent.sock"))
    async with httpx.AsyncClient(transport=transport, base_url="http://agent", timeout=20) as http:
        agent = Client(http, tmp_path / "tree")
        pid = (await agent.raw("GET", "/health")).json()["pid"]
        await agent.exec("bash -c 'exec -a orphan-7793 sleep 300' &")
        assert processes("orphan-7793")
        parent.kill()
        parent.wait()
        async with asyncio.timeout(5):
            while Path(f"/proc/{pid}").exists() and b") Z" not in Path(f"/proc/{pid}/stat").read_bytes():
                await asyncio.sleep(0.02)
    await until_gone("orphan-7793")


def test_it_does_not_begin_when_its_parent_is_gone_already(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "services.agent.main"],
        env=environment(tmp_path, 0, AGENT_DIE_WITH_PARENT="true", AGENT_PARENT_PID="1"),
        capture_output=True,
        check=False,
        timeout=10,
    )

    assert done.returncode == 1
    assert b"parent process ended" in done.stderr


def test_the_listening_socket_and_secrets_of_the_agent_do_not_reach_commands(tmp_path: Path) -> None:
    with listening(tmp_path / "agent.sock") as listener:
        started = subprocess.Popen(
            [sys.executable, "-m", "services.agent.main"],
            env=environment(tmp_path, listener.fileno(), SECRET="hush", MOORAGE_HOME_MARK="marked"),
            pass_fds=(listener.fileno(),),
        )
    try:
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=str(tmp_path / "agent.sock")), base_url="http://agent", timeout=20
        ) as http:
            output = http.post("/exec", json={"command": "env; ls -l /proc/self/fd"}).json()["output"]
    finally:
        started.terminate()
        started.wait(5)

    assert "hush" not in output
    assert "socket:" not in output
    assert "MOORAGE_HOME_MARK=marked" in output


def test_the_agent_imports_neither_a_client_nor_tokens_nor_tools() -> None:
    script = "import json, sys, services.agent.main; print(json.dumps(sorted(sys.modules)))"
    modules = set(json.loads(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout))

    assert not modules & {"httpx", "jwt", "mcp", "openai", "psycopg", "requests", "numpy"}
