"""A home's stack as the command line sees it: up, down, status. Prints nothing.

`up` starts a supervisor in a session of its own and follows its report; everyone else reads `stack.json`.
"""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from signal import SIGKILL, SIGTERM

from services.local import ledger, supervisor
from services.local.errors import LocalError
from services.local.home import DEFAULT_PORT, Home, environment
from services.local.last_words import last_words, size
from services.local.leftovers import MARK, sweep
from services.local.locks import locked
from services.local.processes import end

DEFAULT_RUNTIME = "process"

_START_LIMIT_S = 60.0
_STOP_LIMIT_S = 45.0
_LOCK_LIMIT_S = _START_LIMIT_S + 10.0

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack that answers; `started` when this call started it."""

    address: str
    token: str
    started: bool


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process of a stack."""

    name: str
    pid: int
    alive: bool
    restarts: int


@dataclass(frozen=True, slots=True)
class StackStatus:
    """Whether a stack is up, and what it consists of; only `up` and `processes` are set without one."""

    up: bool
    address: str | None = None
    version: str | None = None
    runtime: str | None = None
    database: str | None = None
    since: datetime | None = None
    processes: tuple[ProcessStatus, ...] = ()


def _silent(_: str) -> None:
    pass


def choose_port(port: int | None, env: Mapping[str, str] | None = None) -> int:
    """Return the API's port: the one given, else MOORAGE_PORT, else 8080.

    Raises:
        LocalError: it is not a port.
    """
    given = (environment() if env is None else env).get("MOORAGE_PORT")
    try:
        chosen = port if port is not None else int(given or DEFAULT_PORT)
    except ValueError as error:
        raise LocalError(f"MOORAGE_PORT is {given!r}; set it to a number from 1 to 65535.") from error
    if not 0 <= chosen <= 65535:
        raise LocalError(f"Port {chosen} does not exist; choose one from 1 to 65535 with --port or MOORAGE_PORT.")
    return chosen


def up(
    home: Home,
    *,
    port: int | None = None,
    runtime: str | None = None,
    detach: bool = True,
    progress: Progress = _silent,
) -> Stack:
    """Bring the home's stack up and return it once it is ready; one that is up already is returned as it is.

    With `detach=False` it runs in this process: `progress` is told its address, and the call returns after
    SIGTERM or SIGINT ended it. Port 0 takes any free one.

    Raises:
        LocalError: it cannot start, or is up on another port or runtime than the one asked for.
    """
    home.prepare()
    with ExitStack() as lock:
        lock.enter_context(_lock(home))
        if (running := ledger.read(home)) is not None and running.ready:
            return Stack(_agreed(running, port, runtime).address, home.token, started=False)
        chosen = choose_port(port)
        kind = runtime or environment().get("ORCHESTRATOR_RUNTIME") or DEFAULT_RUNTIME
        if detach:
            return Stack(_start(home, chosen, kind, progress), home.token, started=True)
        return _serve(home, chosen, kind, progress, lock)


def ensure_up(
    home: Home, *, port: int | None = None, runtime: str | None = None, progress: Progress = _silent
) -> Stack:
    """Return the home's stack, starting it in the background when it is not up. Reads one file when it is.

    Raises:
        LocalError: as `up`.
    """
    if (running := ledger.read(home)) is not None and running.ready:
        return Stack(_agreed(running, port, runtime).address, home.token, started=False)
    return up(home, port=port, runtime=runtime, progress=progress)


def down(home: Home) -> bool:
    """End the home's stack with all it started and return whether there was one; no process and no socket is left.

    Raises:
        LocalError: a process does not end, not even killed.
    """
    if not home.path.is_dir():
        return False
    with _lock(home):
        running = ledger.read(home)
        if running is not None:
            left = end([running.supervisor.process], SIGTERM, _STOP_LIMIT_S)
            end(left, SIGKILL, 5.0)
        sweep(home)
    return running is not None


def status(home: Home) -> StackStatus:
    """Return what the home's stack consists of; `up` is false while it starts."""
    running = ledger.read(home)
    if running is None:
        return StackStatus(up=False)
    entries = {"supervisor": running.supervisor, **running.children}
    return StackStatus(
        up=running.ready,
        address=running.address,
        version=running.version,
        runtime=running.runtime,
        database=running.database,
        since=running.since,
        processes=tuple(
            ProcessStatus(name, entry.pid, entry.process.alive, entry.restarts) for name, entry in entries.items()
        ),
    )


def _lock(home: Home) -> AbstractContextManager[None]:
    busy = f"Another 'up' or 'down' of this home is still at work; look at {home.logs} and try again."
    return locked(home.path / "up.lock", _LOCK_LIMIT_S, busy=busy)


def _agreed(running: ledger.Ledger, port: int | None, runtime: str | None) -> ledger.Ledger:
    if port not in {None, 0, running.port}:
        wanted = f"port {port}"
    elif runtime not in {None, running.runtime}:
        wanted = f"runtime {runtime}"
    else:
        return running
    where = f"{running.address} with runtime {running.runtime}"
    raise LocalError(f"The stack is up at {where}; run './moorage down' first to have it on {wanted}.")


def _serve(home: Home, port: int, runtime: str, progress: Progress, lock: ExitStack) -> Stack:
    address = ""

    def report(line: dict[str, str]) -> None:
        nonlocal address
        if "ready" in line:
            address = line["ready"]
            lock.close()
        progress(f"ready at {address}" if "ready" in line else line["step"])

    supervisor.serve(home, port=port, runtime=runtime, report=report)
    return Stack(address, home.token, started=True)


def _start(home: Home, port: int, runtime: str, progress: Progress) -> str:
    """Start a supervisor and return the address it reports; an interrupted start is ended."""
    log = home.logs / "supervisor.log"
    before = size(log)
    with ExitStack() as cleanup:
        child, report = _launch(home, port, runtime, cleanup)
        for line in _lines(report, _START_LIMIT_S):
            if "ready" in line:
                # It outlives us by design: nobody ends it, and nobody waits for it here.
                cleanup.pop_all()
                os.close(report)
                child.returncode = 0
                return line["ready"]
            if "error" in line:
                raise LocalError(line["error"])
            progress(line["step"])
    raise LocalError(f"The stack did not start in {_START_LIMIT_S:.0f} s: {last_words(log, before)}")


def _launch(home: Home, port: int, runtime: str, cleanup: ExitStack) -> tuple[subprocess.Popen[bytes], int]:
    """Start a supervisor; return it and the descriptor of its report. `cleanup` ends both."""
    report, write_end = os.pipe()
    cleanup.callback(os.close, report)
    argv = [sys.executable, "-I", "-m", "services.local.supervisor", "--home", str(home.path), "--port", str(port)]
    argv += ["--runtime", runtime, "--report", str(write_end)]
    try:
        with (home.logs / "supervisor.log").open("ab") as output:
            child = subprocess.Popen(
                argv,
                cwd=home.path,
                env={**environment(), MARK: home.mark},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(write_end,),
                start_new_session=True,
            )
    finally:
        os.close(write_end)
    cleanup.callback(sweep, home)
    cleanup.callback(child.wait)
    cleanup.callback(_end, child)
    return child, report


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    with suppress(subprocess.TimeoutExpired):
        child.wait(_STOP_LIMIT_S)
        return
    child.kill()


def _lines(descriptor: int, limit_s: float) -> Iterator[dict[str, str]]:
    """Yield the supervisor's reports until it closes the pipe or `limit_s` seconds have passed."""
    deadline = time.monotonic() + limit_s
    pending = b""
    while (left := deadline - time.monotonic()) > 0 and select.select([descriptor], [], [], left)[0]:
        chunk = os.read(descriptor, 65536)
        if not chunk:
            return
        *lines, pending = (pending + chunk).split(b"\n")
        yield from (json.loads(line) for line in lines)
