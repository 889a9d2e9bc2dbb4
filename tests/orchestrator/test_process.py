"""The process runtime with real agents, in a sandbox where there is bubblewrap, and without one."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.chassis.http import call, connect
from services.orchestrator.runtimes import agent_log, process
from services.orchestrator.runtimes.base import AgentSpec, Capabilities, Observed, Phase
from services.orchestrator.runtimes.process import AgentFailed, ProcessRuntime, probe_isolation
from services.wire.agent import AgentHealth, ExecReply, ExecRequest
from services.wire.base import WorkspaceId
from services.wire.errors import ErrorCode

WORKSPACE = WorkspaceId("ws-" + "a" * 20)
NONE = Capabilities("none", False, "a test")


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A folder with a short name, as the paths of Unix sockets must be."""
    with tempfile.TemporaryDirectory(prefix="moorage-") as folder:
        yield Path(folder)


@contextlib.asynccontextmanager
async def running(home: Path, sockets: Path, capabilities: Capabilities) -> AsyncIterator[ProcessRuntime]:
    """A runtime while the block runs."""
    failure: Exception | None = None
    async with (
        asyncio.TaskGroup() as logs,
        ProcessRuntime(home / "home", sockets, capabilities, {}, logs).serve() as runtime,
    ):
        try:
            yield runtime
        except Exception as error:  # raised below, outside of the group that would wrap it
            failure = error
    if failure is not None:
        raise failure


@pytest.fixture(params=[pytest.param("sandbox", marks=pytest.mark.sandbox), "none"])
async def runtime(request: pytest.FixtureRequest, tmp_path: Path, sockets: Path) -> AsyncIterator[ProcessRuntime]:
    capabilities = probe_isolation() if request.param == "sandbox" else NONE
    async with running(tmp_path, sockets, capabilities) as runtime:
        yield runtime


async def ask(agent: Observed) -> AgentHealth:
    async with connect(agent.address) as client:
        return await call(
            client, "GET", "/health", AgentHealth, unreachable=ErrorCode.AGENT_UNREACHABLE, who="The agent"
        )


async def execute(agent: Observed, command: str) -> str:
    async with connect(agent.address) as client:
        reply = await call(
            client, "POST", "/exec", ExecReply, body=ExecRequest(command=command, timeout_s=20),
            unreachable=ErrorCode.AGENT_UNREACHABLE, who="The agent",
        )  # fmt: skip
    return reply.output


def tree(tmp_path: Path) -> Path:
    return tmp_path / "home" / "workspaces" / WORKSPACE / "tree"


async def test_an_agent_answers_is_kept_within_an_epoch_and_replaced_by_the_next(runtime: ProcessRuntime) -> None:
    first = await runtime.ensure(AgentSpec(WORKSPACE), 1)
    assert (await ask(first)).workspace_id == WORKSPACE
    await execute(first, "touch kept; cd /tmp")
    again = await runtime.ensure(AgentSpec(WORKSPACE), 1)
    assert await execute(again, "pwd") == "/tmp\n"
    other = await runtime.ensure(AgentSpec(WORKSPACE), 2)
    assert await execute(other, "ls") == "kept\n"
    assert other.epoch == 2


async def test_a_stopped_agent_is_gone_with_all_it_started(runtime: ProcessRuntime) -> None:
    agent = await runtime.ensure(AgentSpec(WORKSPACE), 1)
    await execute(agent, "(setsid sleep 4711 &) ; sleep 4711 &")
    await runtime.stop(WORKSPACE)
    assert await runtime.inspect(WORKSPACE) is None
    found = [path for path in Path("/proc").glob("[0-9]*/cmdline") if b"sleep\x004711" in _read(path)]
    assert found == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


async def test_an_agent_that_died_is_seen_as_failed(runtime: ProcessRuntime) -> None:
    await runtime.ensure(AgentSpec(WORKSPACE), 1)
    child = runtime._children[WORKSPACE].process
    child.kill()
    async with asyncio.timeout(10):
        await child.wait()
    seen = await runtime.inspect(WORKSPACE)
    assert seen is not None
    assert seen.phase is Phase.FAILED


async def test_no_module_of_a_repository_is_taken_for_ours(runtime: ProcessRuntime, tmp_path: Path) -> None:
    for name in (
        "services/agent/main.py",
        "services/__init__.py",
        "asyncio.py",
        "sitecustomize.py",
        "usercustomize.py",
    ):
        planted = tree(tmp_path) / name
        planted.parent.mkdir(parents=True, exist_ok=True)
        planted.write_text("raise SystemExit('taken over')")
    agent = await runtime.ensure(AgentSpec(WORKSPACE), 1)
    assert (await ask(agent)).status == "ok"


@pytest.mark.sandbox
async def test_a_command_cannot_take_the_agents_descriptors(tmp_path: Path, sockets: Path) -> None:
    async with running(tmp_path, sockets, probe_isolation()) as runtime:
        agent = await runtime.ensure(AgentSpec(WORKSPACE), 1)
        looks = (
            "for name in fd/0 mem environ maps; do head -c 1 /proc/2/$name >/dev/null 2>&1 && echo $name; done; true"
        )
        # 1 is bwrap, 2 the agent; its command line is not secret and shows that we look at the right one.
        assert "services.agent.main" in await execute(agent, "cat /proc/2/cmdline")
        assert await execute(agent, looks) == ""


HAMMER = r"""
import socket, struct
for number in range(200):
    peer = socket.create_connection(("127.0.0.1", 3128))
    peer.sendall(b"CONNECT example.org:443 HTTP/1.1\r\n\r\n")
    if number % 3:
        peer.recv(65536 if number % 3 == 1 else 1)
    if number % 2:  # with a reset instead of an end
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
print("done")
"""


@pytest.mark.sandbox
async def test_broken_connections_of_commands_do_not_harm_the_agent(tmp_path: Path, sockets: Path) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n")
        writer.close()

    async with running(tmp_path, sockets, probe_isolation()) as runtime:
        agent = await runtime.ensure(AgentSpec(WORKSPACE), 1)
        assert agent.egress is not None
        async with await asyncio.start_unix_server(refuse, agent.egress):
            (tree(tmp_path) / "hammer.py").write_text(HAMMER)
            assert await execute(agent, "python3 hammer.py & python3 hammer.py & wait") == "done\ndone\n"
        assert (await ask(agent)).status == "ok"
        assert await execute(agent, "echo still here") == "still here\n"


async def test_what_an_agent_says_is_kept_within_bounds(
    runtime: ProcessRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_log, "KEPT_BYTES", 100_000)
    monkeypatch.setattr(agent_log, "SHOWN_BYTES", 1_000)
    log = tmp_path / "log"
    stream = asyncio.StreamReader()
    stream.feed_data(b"x" * 90_000 + b"\n" + b"y" * 90_000)
    stream.feed_eof()
    await agent_log.keep(stream, log)
    assert log.stat().st_size == 100_000
    assert [len(line) for line in agent_log.last_lines(log, 5)] == [1_000]
    await runtime.ensure(AgentSpec(WORKSPACE), 1)
    assert await runtime.logs(WORKSPACE, 10) == []


async def test_a_log_that_cannot_be_written_harms_no_agent(runtime: ProcessRuntime, tmp_path: Path) -> None:
    (tmp_path / "home" / "logs" / "agents" / f"{WORKSPACE}.log").mkdir(parents=True)
    agent = await runtime.ensure(AgentSpec(WORKSPACE), 1)
    assert await execute(agent, "echo fine") == "fine\n"
    assert await runtime.logs(WORKSPACE, 5) == []


async def test_deleting_removes_a_tree_however_deep_and_whatever_its_modes(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    agent = await runtime.ensure(AgentSpec(WORKSPACE), 1)
    deep = "import os\nfor _ in range(1500):\n os.mkdir('d')\n os.chdir('d')\n"
    (tree(tmp_path) / "deep.py").write_text(deep)
    outside = tmp_path / "outside"
    outside.write_text("stays")
    await execute(agent, f"python3 deep.py; mkdir -p shut/in && chmod 000 shut; ln -s {outside} link")
    await runtime.delete(WORKSPACE)
    assert not tree(tmp_path).parent.exists()
    assert outside.read_text() == "stays"


async def test_an_agent_that_does_not_start_says_why(
    tmp_path: Path, sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = ("sh", "-c", "echo no such luck >&2; exit 3")
    monkeypatch.setattr(process, "AGENT", failing)
    async with running(tmp_path, sockets, NONE) as runtime:
        with pytest.raises(AgentFailed, match="no such luck"):
            await runtime.ensure(AgentSpec(WORKSPACE), 1)
        assert await runtime.inspect(WORKSPACE) is None
    assert list(sockets.iterdir()) == []
