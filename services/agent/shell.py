"""The shell tool: one bash per command, whose folder and exports the next one finds again. Knows no HTTP.

A command ends when its bash ends. What it left in the background lives on and is read on, so that a server started
by one command is there for the next; a timeout or a cancelled call ends everything that command started, also what
moved to a session of its own, found by a mark in its environment.
"""

import asyncio
import contextlib
import os
import secrets
import shlex
import shutil
import stat
import subprocess
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from services.agent import names
from services.agent.children import Children, Pump, strike_all
from services.agent.output import Output, Spills
from services.agent.tree import Tree
from services.chassis.errors import ServiceError
from services.wire.agent import ExecReply, ExecRequest
from services.wire.errors import ErrorCode

BASE_ENV = {
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "NO_COLOR": "1",
    "CI": "1",
    "PAGER": "cat",
    "GIT_PAGER": "cat",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_EDITOR": "true",
    "EDITOR": "true",
    "DEBIAN_FRONTEND": "noninteractive",
    "PIP_NO_INPUT": "1",
    "PIP_PROGRESS_BAR": "off",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "npm_config_yes": "true",
}
"""What every command starts with: no colour, no pager, no prompt, no editor that waits."""

MARK = "MOORAGE_COMMAND"
TIMEOUT_CODE = 124
"""Exit code of a command that ran out of time, as coreutils' timeout has it."""

# The command is evaluated, not sourced, so that bash's messages name no file of ours. The trap leaves folder and
# exports for the next command, however this one ends; >| because a command may have set noclobber.
_LAUNCH = (
    "__moorage=$1; shift; "
    "trap '__moorage_rc=$?; trap - EXIT; unset " + MARK + "; "
    '{ printf "%s\\0" "$PWD"; export -n PWD; export -p; printf "\\0"; } >|"$__moorage.state" 2>/dev/null; '
    "exit $__moorage_rc' EXIT; "
    '[ -r "$__moorage.env" ] && . "$__moorage.env"; '
    'eval "$(<"$__moorage")"'
)
_STATE_BYTES = 1_000_000
_DRAIN_S = 0.15
_TERM_GRACE_S = 1.0
_CANCEL_GRACE_S = 0.3
_BACKGROUND_PIPES = 64


@dataclass(frozen=True, slots=True)
class _State:
    cwd: Path
    exports: bytes = b""


@dataclass(slots=True)
class _Job:
    stem: Path
    process: "subprocess.Popen[bytes]"
    mark: bytes
    output: Output
    pump: Pump
    started: float = field(default_factory=time.monotonic)


class Shell:
    """Runs commands in one work tree. Commands may overlap; each starts from the last one that ended."""

    def __init__(
        self,
        tree: Tree,
        children: Children,
        spills: Spills,
        env: dict[str, str],
        *,
        head: int,
        tail: int,
        max_commands: int,
    ) -> None:
        self._tree, self._children, self._spills, self._env = tree, children, spills, env
        self._head, self._tail, self._max_commands = head, tail, max_commands
        self._state = _State(tree.root)
        self._mark = secrets.token_hex(8)
        self._count = 0
        self._running = 0
        self._background: deque[_Job] = deque()
        # Not in the work tree: a clean or a reset there must not take a command's script away.
        self._folder = Path(tempfile.mkdtemp(prefix="moorage-shell-"))

    def reset(self) -> None:
        """Forget folder and exports: the next command starts like the first."""
        self._state = _State(self._tree.root)

    def close(self) -> None:
        """Kill everything commands left behind, and remove our own files."""
        strike_all(f"{MARK}={self._mark}-".encode())
        self._children.reap()
        for job in self._background:
            job.pump.close()
            job.output.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def run(self, request: ExecRequest) -> ExecReply:
        """Run a command to its end or its timeout; a cancelled call kills it within about a second.

        A `workdir` holds for this command alone. Exit code 124 is a timeout, 128 and above a signal.

        Raises:
            ServiceError: invalid_field, not_found for `workdir`, too_many_requests.
        """
        cwd = self._workdir(request.workdir)
        script = request.command if isinstance(request.command, str) else shlex.join(request.command)
        if "\0" in script:
            raise ServiceError(ErrorCode.INVALID_FIELD, "Field 'command' contains NUL; write it another way.")
        if self._running >= self._max_commands:
            message = f"{self._running} commands run already; wait for one to end."
            raise ServiceError(ErrorCode.TOO_MANY_REQUESTS, message, headers={"Retry-After": "1"})
        self._running += 1
        try:
            job = self._start(script, cwd)
            return await self._finish(job, request)
        finally:
            self._running -= 1

    def _workdir(self, text: str | None) -> Path:
        if text is None:
            return self._state.cwd if self._state.cwd.is_dir() else self._tree.root
        path = self._tree.locate(text)
        if not path.exists():
            raise self._tree.not_found(path)
        if not path.is_dir():
            raise ServiceError(ErrorCode.INVALID_FIELD, f"Field 'workdir': {self._tree.shown(path)} is not a folder.")
        return path

    def _start(self, script: str, cwd: Path) -> _Job:
        self._count += 1
        stem = self._folder / str(self._count)
        mark = f"{self._mark}-{self._count}"
        stem.write_text(script + "\n", encoding="utf-8")
        # With exports of an earlier command they are the whole environment: what it has unset stays unset.
        env = {MARK: mark} if self._state.exports else {**BASE_ENV, **self._env, MARK: mark}
        stem.with_suffix(".env").write_bytes(self._state.exports)
        argv = ["/bin/bash", "--noprofile", "--norc", "-c", _LAUNCH, "bash", str(stem)]
        read, write = os.pipe()
        try:
            process = self._children.spawn(argv, cwd=cwd, env=env, stdout=write, stderr=write)
        except ServiceError:
            os.close(read)
            raise
        finally:
            os.close(write)
        output = Output(self._spills, head=self._head, tail=self._tail)
        return _Job(stem, process, f"{MARK}={mark}\0".encode(), output, Pump(read, output.add))

    async def _finish(self, job: _Job, request: ExecRequest) -> ExecReply:
        status = await self._ended(job, request.timeout_s)
        # Background children hold the pipe: drain what is there, but never wait for its end.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                await job.pump.ended.wait()
        if status == "exited":
            self._carry_over(job, keep_cwd=request.workdir is not None)
        self._retire(job)
        code = TIMEOUT_CODE if status == "timeout" else job.process.returncode
        return ExecReply(
            status="exited" if status == "exited" else "timeout",
            exit_code=code if code >= 0 else 128 - code,
            output=job.output.text(),
            bytes=job.output.size,
            cwd=names.show(str(self._state.cwd)),
            seconds=round(time.monotonic() - job.started, 3),
            spill=job.output.path,
        )

    async def _ended(self, job: _Job, timeout: float) -> str:
        try:
            async with asyncio.timeout(timeout):
                await self._children.wait(job.process)
        except TimeoutError:
            await self._kill(job, _TERM_GRACE_S)
            return "timeout"
        except asyncio.CancelledError:
            await self._kill(job, _CANCEL_GRACE_S)
            job.pump.close()
            self._retire(job)
            raise
        return "exited"

    async def _kill(self, job: _Job, grace: float) -> None:
        await self._children.kill(job.process, job.mark, grace)
        await self._children.wait(job.process)

    def _carry_over(self, job: _Job, *, keep_cwd: bool) -> None:
        state = _read_small(job.stem.with_suffix(".state"))
        if state is None or not state.endswith(b"\0"):
            return
        cwd, _, exports = state[:-1].partition(b"\0")
        self._state = _State(self._state.cwd if keep_cwd else Path(os.fsdecode(cwd)), exports)

    def _retire(self, job: _Job) -> None:
        for path in (job.stem, job.stem.with_suffix(".env"), job.stem.with_suffix(".state")):
            path.unlink(missing_ok=True)
        if job.pump.ended.is_set():
            job.output.close()
            return
        # Closing the pipe would kill a background server at its next log line: it goes on into the spill file.
        job.output.keep()
        self._background.append(job)
        for old in [job for job in self._background if job.pump.ended.is_set()]:
            old.output.close()
            self._background.remove(old)
        while len(self._background) > _BACKGROUND_PIPES:
            oldest = self._background.popleft()
            oldest.pump.close()
            oldest.output.close()


def _read_small(path: Path) -> bytes | None:
    """Return the content of a file the command wrote; None when it is missing, too long or no file."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123  (descriptor)
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            content = file.read(_STATE_BYTES + 1)
    except OSError:
        return None
    return content if len(content) <= _STATE_BYTES else None
