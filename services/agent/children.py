"""Child processes: start, wait, read, kill, and bury those whose parents died. Knows no shell and no git.

Everything this process starts goes through one `Children`, because burying orphans (which become our children once
we are their subreaper) must never take the exit status of a child that somebody here waits for.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from services.chassis.errors import ServiceError
from services.wire.errors import ErrorCode

_CHUNK = 65_536
_STDERR_BYTES = 8_192
_POLL_S = 0.03
_KILL_ROUNDS = 40
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Finished:
    """A child that ended. `cut` means that its output went over the limit and it was killed for that."""

    code: int
    output: bytes
    stderr: str
    cut: bool = False


class Pump:
    """Reads one pipe to its end and hands every piece to `sink`."""

    def __init__(self, descriptor: int, sink: Callable[[bytes], None]) -> None:
        self.ended = asyncio.Event()
        self._descriptor = descriptor
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._read)

    def _read(self) -> None:
        try:
            piece = os.read(self._descriptor, _CHUNK)
        except BlockingIOError:
            return
        if piece:
            self._sink(piece)
        else:
            self.close()

    def close(self) -> None:
        """Stop reading; what writes to the pipe later gets SIGPIPE."""
        if not self.ended.is_set():
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self.ended.set()


class Children:
    """All child processes of this one."""

    def __init__(self) -> None:
        self._own: set[int] = set()
        self._lock = threading.Lock()

    def spawn(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str] | Mapping[bytes, bytes],
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes],
        stderr: int | IO[bytes],
    ) -> subprocess.Popen[bytes]:
        """Start a program in a session of its own; the caller must `wait` for it.

        Raises:
            ServiceError: unsupported when the program is not installed.
        """
        # Under the lock, so that `reap` cannot see the child before it is known as ours.
        with self._lock:
            try:
                process = subprocess.Popen(
                    argv, cwd=cwd, env=env, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
                )
            except OSError as error:
                message = f"{argv[0]} cannot be started ({error.strerror}); install it in the agent's image."
                raise ServiceError(ErrorCode.UNSUPPORTED, message) from error
            self._own.add(process.pid)
        return process

    async def wait(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for a child's end and return its exit code; negative is a signal."""
        if process.poll() is None and hasattr(os, "pidfd_open"):
            await _readable(os.pidfd_open(process.pid))
        # Where there is no pidfd (macOS) a thread waits.
        code = process.wait() if hasattr(os, "pidfd_open") else await asyncio.to_thread(process.wait)
        with self._lock:
            self._own.discard(process.pid)
        return code

    async def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        stdin: bytes = b"",
        limit: int,
        timeout: float,
    ) -> Finished:
        """Run a program to its end and return its output, at most `limit` bytes.

        Raises:
            TimeoutError: after `timeout` seconds; the program and its group are killed then.
        """
        output = bytearray()
        over = asyncio.Event()

        def keep(piece: bytes) -> None:
            output.extend(piece[: limit + 1 - len(output)])
            if len(output) > limit and not over.is_set():
                over.set()
                _signal_group(process.pid, signal.SIGKILL)

        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as errors:
            given.write(stdin)
            given.seek(0)
            read, write = os.pipe()
            try:
                process = self.spawn(argv, cwd=cwd, env=env, stdin=given, stdout=write, stderr=errors)
            except ServiceError:
                os.close(read)
                raise
            finally:
                os.close(write)
            pump = Pump(read, keep)
            try:
                async with asyncio.timeout(timeout):
                    code = await self.wait(process)
                    await pump.ended.wait()
            finally:
                pump.close()
                if process.returncode is None:
                    _signal_group(process.pid, signal.SIGKILL)
                    await self.wait(process)
            errors.seek(0)
            stderr = errors.read(_STDERR_BYTES).decode("utf-8", "replace")
        return Finished(code, bytes(output[:limit]), stderr, cut=over.is_set())

    def reap(self) -> None:
        """Bury dead children that nobody here started: orphans of commands."""
        with self._lock:
            for pid in _children_of(os.getpid()) - self._own:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)

    async def kill(self, process: subprocess.Popen[bytes], mark: bytes, grace: float) -> None:
        """End a child, its group, and whoever carries `mark` in the environment: TERM, `grace` seconds, KILL."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        try:
            self._strike(process, mark, signal.SIGTERM)
            while loop.time() < deadline and self._strike(process, mark, None):  # noqa: ASYNC110  (nothing tells of strangers' ends)
                await asyncio.sleep(_POLL_S)
            for _ in range(_KILL_ROUNDS):
                if not self._strike(process, mark, signal.SIGKILL):
                    break
                await asyncio.sleep(_POLL_S)
        finally:
            # Reached with survivors only when cancelled a second time: then at least nothing is spared.
            self._strike(process, mark, signal.SIGKILL)

    def _strike(self, process: subprocess.Popen[bytes], mark: bytes, number: signal.Signals | None) -> bool:
        """Signal everyone concerned; whether anyone still lives."""
        alive = process.poll() is None
        if alive and number is not None:
            _signal_group(process.pid, number)
        self.reap()
        left = living(process.pid, mark)
        if number is not None:
            for pid in left:
                _signal(pid, number)
        return alive or bool(left)


def living(group: int | None, mark: bytes) -> list[int]:
    """Return the processes that belong to `group` or carry `mark` in their environment, without the dead."""
    found = []
    for entry in _PROC.iterdir() if _PROC.is_dir() else ():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError, IndexError):
            # The command name is in parentheses and may itself contain anything.
            state, _, its_group = (entry / "stat").read_bytes().rpartition(b")")[2].split()[:3]
            if state in (b"Z", b"X"):
                continue
            if int(its_group) == group or mark in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def strike_all(mark: bytes) -> None:
    """Kill whoever carries `mark`, until none is left that was seen."""
    for _ in range(_KILL_ROUNDS):
        left = living(None, mark)
        for pid in left:
            _signal(pid, signal.SIGKILL)
        if not left:
            return


def _children_of(pid: int) -> set[int]:
    found: set[int] = set()
    for thread in (_PROC / str(pid) / "task").glob("*/children"):
        with contextlib.suppress(OSError):
            found.update(int(child) for child in thread.read_text().split())
    return found


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
