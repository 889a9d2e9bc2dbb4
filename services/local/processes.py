"""Processes of this machine, named so that a reused pid is never taken for the old one. Knows no stack."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_LOOK_EVERY_S = 0.02


@dataclass(frozen=True, slots=True)
class Process:
    """A process: its pid, and when it started, in the words of this system."""

    pid: int
    started: str

    @classmethod
    def find(cls, pid: int) -> "Process | None":
        """Return the living process `pid`; a zombie counts as dead."""
        started = _started(pid)
        return cls(pid, started) if started else None

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return _started(self.pid) == self.started

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, number)


def end(processes: Iterable[Process], number: signal.Signals, limit_s: float) -> list[Process]:
    """Signal the processes, wait at most `limit_s` seconds, and return those that still run."""
    left = list(processes)
    for process in left:
        process.signal(number)
    deadline = time.monotonic() + limit_s
    while (left := [process for process in left if process.alive]) and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)
    return left


def working_in(directory: Path) -> list[Process]:
    """Return our processes whose working directory is `directory`."""
    wanted = str(directory)
    return [process for process in _ours() if _link(process.pid, "cwd") == wanted]


def marked(variable: str, value: str) -> list[Process]:
    """Return our processes, but this one, that were started with `variable` set to `value`."""
    wanted = f"{variable}={value}".encode()
    me = os.getpid()
    return [process for process in _ours() if process.pid != me and wanted in _environ(process.pid).split(b"\0")]


def _started(pid: int) -> str | None:
    if sys.platform != "linux":
        ps = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
        state, _, started = ps.stdout.strip().partition(" ")
        return None if not state or state.startswith("Z") else started.strip()
    try:
        # The name in parentheses may hold spaces and parentheses itself.
        fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {b"Z", b"X"} else fields[19].decode()


def _ours() -> Iterator[Process]:
    uid = os.geteuid()
    for entry in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if uid in {0, entry.stat().st_uid} and (process := Process.find(int(entry.name))):
                yield process


def _link(pid: int, name: str) -> str | None:
    try:
        return str((_PROC / str(pid) / name).readlink())
    except OSError:
        return None


def _environ(pid: int) -> bytes:
    try:
        return (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return b""
