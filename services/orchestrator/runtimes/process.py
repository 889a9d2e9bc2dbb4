"""Agents as child processes of this one, each in a bubblewrap sandbox where there is bubblewrap.

The control socket is bound out here and handed in as an inherited descriptor: inside there is no path to replace, so a
hostile agent cannot make us connect to something else. Its only way out is the egress socket, mounted read-only.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

import httpx

from services.chassis.errors import ServiceError
from services.chassis.http import connect
from services.orchestrator.runtimes import agent_log, sandbox
from services.orchestrator.runtimes.base import AgentSpec, Capabilities, Observed, Phase
from services.wire.base import WorkspaceId
from services.wire.errors import ErrorCode

START_LIMIT_S = 30.0
STOP_GRACE_S = 3.0
REMOVE_LIMIT_S = 120.0


AGENT = (sys.executable, "-I", "-m", "services.agent.main")
"""-I: the current directory and the agent's home belong to the repository, and no module may come from there."""


class AgentFailed(ServiceError):
    """An agent did not start."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.AGENT_UNREACHABLE, message)


@dataclass(slots=True)
class Child:
    """One running agent. `pid` is its process group's leader."""

    epoch: int
    process: asyncio.subprocess.Process
    folder: Path
    egress: Path

    @property
    def address(self) -> str:
        """Where it is reached."""
        return f"unix:{self.folder / 'agent.sock'}"


@dataclass(frozen=True, slots=True)
class Command:
    """How an agent is started; `descriptors` are inherited by it."""

    argv: tuple[str, ...]
    environment: dict[str, str]
    descriptors: tuple[int, ...]


def probe_isolation() -> Capabilities:
    """Find out, by doing it, whether sandboxes can be made here."""
    problem = sandbox.problem()
    if problem is not None:
        return Capabilities("none", False, f"{problem}; ./moorage doctor says what helps")
    return Capabilities("bubblewrap", True, "user, pid, mount, ipc, uts and network namespaces by bubblewrap")


class ProcessRuntime:
    """Sandboxed child processes. Work trees lie in `state`, sockets in `run`."""

    name = "process"

    def __init__(
        self, state: Path, run: Path, capabilities: Capabilities, mark: dict[str, str], logs: asyncio.TaskGroup
    ) -> None:
        self._state = state
        self._run = run
        self._capabilities = capabilities
        self._mark = mark
        self._logs = logs
        self._children: dict[WorkspaceId, Child] = {}
        self._locks: WeakValueDictionary[WorkspaceId, asyncio.Lock] = WeakValueDictionary()

    def capabilities(self) -> Capabilities:
        """What was found at the start."""
        return self._capabilities

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator["ProcessRuntime"]:
        """End every agent on the way out."""
        try:
            yield self
        finally:
            async with asyncio.TaskGroup() as group:
                for workspace_id in list(self._children):
                    group.create_task(self.stop(workspace_id), name=f"stop-{workspace_id}")

    async def ensure(self, spec: AgentSpec, epoch: int) -> Observed:
        """See `Runtime.ensure`."""
        async with self._lock(spec.workspace_id):
            child = self._children.get(spec.workspace_id)
            if child is not None and child.process.returncode is None and child.epoch == epoch:
                return self._observe(spec.workspace_id, child)
            await self._end(spec.workspace_id)
            child = await self._start(spec.workspace_id, epoch)
            self._children[spec.workspace_id] = child
            try:
                await self._answering(spec.workspace_id, child)
            except BaseException:
                await self._end(spec.workspace_id)
                raise
            return self._observe(spec.workspace_id, child)

    async def inspect(self, workspace_id: WorkspaceId) -> Observed | None:
        """See `Runtime.inspect`."""
        child = self._children.get(workspace_id)
        return self._observe(workspace_id, child) if child else None

    async def stop(self, workspace_id: WorkspaceId) -> None:
        """See `Runtime.stop`."""
        async with self._lock(workspace_id):
            await self._end(workspace_id)

    async def delete(self, workspace_id: WorkspaceId) -> None:
        """See `Runtime.delete`."""
        async with self._lock(workspace_id):
            await self._end(workspace_id)
            await _remove(self._disk(workspace_id))
            self._log_path(workspace_id).unlink(missing_ok=True)

    async def logs(self, workspace_id: WorkspaceId, tail: int) -> list[str]:
        """See `Runtime.logs`."""
        return await asyncio.to_thread(agent_log.last_lines, self._log_path(workspace_id), tail)

    def _lock(self, workspace_id: WorkspaceId) -> asyncio.Lock:
        return self._locks.setdefault(workspace_id, asyncio.Lock())

    def _disk(self, workspace_id: WorkspaceId) -> Path:
        return self._state / "workspaces" / workspace_id

    def _log_path(self, workspace_id: WorkspaceId) -> Path:
        return self._state / "logs" / "agents" / f"{workspace_id}.log"

    def _observe(self, workspace_id: WorkspaceId, child: Child) -> Observed:
        code = child.process.returncode
        if code is None:
            return Observed(workspace_id, child.epoch, Phase.RUNNING, child.address, child.egress)
        detail = f"exited with {code}"
        return Observed(workspace_id, child.epoch, Phase.FAILED, child.address, child.egress, detail)

    async def _start(self, workspace_id: WorkspaceId, epoch: int) -> Child:
        folder = self._run / workspace_id.removeprefix("ws-")
        mounts = sandbox.Mounts(
            self._disk(workspace_id) / "tree", self._disk(workspace_id) / "home", folder / "egress", folder / "etc"
        )
        await asyncio.to_thread(_make_folders, folder, mounts, self._log_path(workspace_id).parent)
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(contextlib.closing(_listen(folder / "agent.sock")))
            settings = {"AGENT_WORKSPACE_ID": workspace_id, "AGENT_FD": str(listener.fileno()), "LANG": "C.UTF-8"}
            command = self._confined(mounts, settings, stack) if self._confines else self._open(mounts, settings)
            # From the event loop's own thread: the kernel's parent-death signal belongs to the spawning thread.
            process = await asyncio.create_subprocess_exec(
                *command.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env={**command.environment, **self._mark},
                pass_fds=(listener.fileno(), *command.descriptors),
                start_new_session=True,
                cwd="/",
            )
        assert process.stdout is not None
        writing = agent_log.keep(process.stdout, self._log_path(workspace_id))
        self._logs.create_task(writing, name=f"log-{workspace_id}")
        return Child(epoch, process, folder, mounts.egress / "egress.sock")

    @property
    def _confines(self) -> bool:
        return self._capabilities.network

    def _confined(self, mounts: sandbox.Mounts, settings: dict[str, str], stack: contextlib.ExitStack) -> Command:
        inside = {
            **settings,
            "AGENT_ROOT": str(sandbox.WORKSPACE),
            "AGENT_HOME": str(sandbox.HOME),
            "AGENT_EGRESS_SOCKET": str(sandbox.RUN / "egress.sock"),
            "PATH": sandbox.search_path(),
        }
        sealed = stack.enter_context(sandbox.sealed(sandbox.flags(mounts, inside)))
        return Command((*sealed.argv, "--", *AGENT), {"PATH": sandbox.search_path()}, sealed.descriptors)

    def _open(self, mounts: sandbox.Mounts, settings: dict[str, str]) -> Command:
        environment = {
            **settings,
            "AGENT_ROOT": str(mounts.tree),
            "AGENT_HOME": str(mounts.home),
            "AGENT_DIE_WITH_PARENT": "true",
            # The mirror is reached the same way as from a sandbox; every agent has the host's loopback, so any port.
            "AGENT_EGRESS_SOCKET": str(mounts.egress / "egress.sock"),
            "AGENT_PROXY_PORT": "0",
            "PATH": sandbox.search_path(),
        }
        return Command(AGENT, environment, ())

    async def _answering(self, workspace_id: WorkspaceId, child: Child) -> None:
        """Wait for its first answer. The socket listens already, so this is one request and no polling."""
        try:
            async with asyncio.timeout(START_LIMIT_S), asyncio.TaskGroup() as group:
                gone = group.create_task(_exit_is_failure(child.process), name="agent-exit")
                async with connect(child.address, timeout=httpx.Timeout(START_LIMIT_S)) as client:
                    (await client.get("/health")).raise_for_status()
                gone.cancel()
        except (ExceptionGroup, httpx.HTTPError, TimeoutError) as error:
            words = await self.logs(workspace_id, 5)
            said = " | ".join(words)[-600:] or str(error) or type(error).__name__
            raise AgentFailed(f"The agent did not start: {said}; see GET /containers/{workspace_id}/logs.") from error

    async def _end(self, workspace_id: WorkspaceId) -> None:
        child = self._children.pop(workspace_id, None)
        if child is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.process.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_GRACE_S):
                await child.process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.process.pid, signal.SIGKILL)
            await child.process.wait()
        await asyncio.to_thread(shutil.rmtree, child.folder, ignore_errors=True)


async def _exit_is_failure(process: asyncio.subprocess.Process) -> None:
    code = await process.wait()
    raise AgentFailed(f"the agent's process ended with {code}")


def _listen(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    with contextlib.ExitStack() as undo:
        listener = undo.enter_context(contextlib.closing(socket.socket(socket.AF_UNIX)))
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(128)
        undo.pop_all()
        return listener


def _make_folders(folder: Path, mounts: sandbox.Mounts, logs: Path) -> None:
    for path in (folder, mounts.egress, mounts.etc, mounts.tree, mounts.home, logs):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    sandbox.write_etc(mounts.etc)


async def _remove(folder: Path) -> None:
    """Remove a hostile tree, however deep and whatever its modes.

    Raises:
        ServiceError: something is left; the message names the folder.
    """
    # Programs, not shutil: it recurses, and a tree can be deeper than Python's stack.
    await _succeeds("chmod", "-R", "u+rwX", "--", str(folder))
    if not await _succeeds("rm", "-rf", "--one-file-system", "--", str(folder)):
        raise ServiceError(ErrorCode.INTERNAL, f"{folder} cannot be removed whole; remove the rest of it by hand.")


async def _succeeds(*argv: str) -> bool:
    nowhere = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*argv, stdin=nowhere, stdout=nowhere, stderr=nowhere)
    try:
        async with asyncio.timeout(REMOVE_LIMIT_S):
            return await process.wait() == 0
    except TimeoutError:
        process.kill()
        await process.wait()
        return False
