"""One child process of the supervisor: start, wait until ready, start again after a death, stop. Knows no service."""

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.local.errors import LocalError
from services.local.last_words import last_words, size

logger = logging.getLogger(__name__)

_LONGEST_LOG = 10_000_000
_LOOK_EVERY_S = 0.03
_PR_SET_PDEATHSIG = 1


class ChildFailed(LocalError):
    """A child ended, or did not get ready, when it was started."""


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to run, how to see that it is ready, and how to stop it; `before_start` clears what a death left."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    ready: Callable[[], Awaitable[bool]]
    pass_fds: tuple[int, ...] = ()
    before_start: Callable[[], None] = _nothing
    stop_signal: signal.Signals = signal.SIGTERM
    stop_limit_s: float = 7.0
    start_limit_s: float = 45.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds between a death and the next start: doubled each time, back to `first` after `steady` seconds of life."""

    first: float = 0.2
    most: float = 30.0
    steady: float = 30.0


class Child:
    """A running `ChildSpec`; its output is appended to `log`. One task at a time calls its methods."""

    def __init__(self, spec: ChildSpec, log: Path, *, backoff: Backoff, changed: Callable[[], None]) -> None:
        self.spec = spec
        self.log = log
        self.restarts = 0
        self._backoff = backoff
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """Pid of the living process."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Start the process and return when it is ready.

        Raises:
            ChildFailed: it ended or was not ready in time; the message has what it said last.
        """
        await asyncio.to_thread(self.spec.before_start)
        rotate(self.log)
        self._log_start = size(self.log)
        with self.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self.spec.argv,
                env=dict(self.spec.env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=self.spec.pass_fds,
                # A Ctrl-C at the terminal is for the supervisor, which stops its children in order.
                start_new_session=True,
                preexec_fn=_die_with(os.getpid(), self.spec.stop_signal),
            )
        self._changed()
        try:
            async with asyncio.timeout(self.spec.start_limit_s):
                await self._until_ready(self._process)
        except TimeoutError as error:
            limit = f"{self.spec.start_limit_s:.0f} s"
            raise ChildFailed(f"{self.spec.name} was not ready in {limit}: {self._last_words()}") from error

    async def keep(self) -> None:
        """Start the process again whenever it ends, until cancelled."""
        delay = self._backoff.first
        while True:
            since = time.monotonic()
            code = await self._process.wait() if self._process else None
            logger.warning("child ended", extra={"child": self.spec.name, "exit_code": code})
            self._changed()
            if time.monotonic() - since > self._backoff.steady:
                delay = self._backoff.first
            await asyncio.sleep(delay)
            delay = min(delay * 2, self._backoff.most)
            self.restarts += 1
            try:
                await self.start()
                logger.info("child started again", extra={"child": self.spec.name, "restarts": self.restarts})
            except (ChildFailed, LocalError, OSError) as error:
                logger.error("child does not start", extra={"child": self.spec.name, "error": str(error)})
                await self.stop()

    async def stop(self) -> None:
        """End the process: asked first, killed with its session after the limit."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(self.spec.stop_signal)
        try:
            async with asyncio.timeout(self.spec.stop_limit_s):
                await process.wait()
        except TimeoutError:
            logger.warning("child is killed", extra={"child": self.spec.name})
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def _until_ready(self, process: asyncio.subprocess.Process) -> None:
        while not await self.spec.ready():
            if process.returncode is not None:
                raise ChildFailed(f"{self.spec.name} ended with code {process.returncode}: {self._last_words()}")
            await asyncio.sleep(_LOOK_EVERY_S)

    def _last_words(self) -> str:
        return last_words(self.log, self._log_start)


def rotate(log: Path) -> None:
    """Put a log over 10 MB aside as `.1`, over the one put aside before."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > _LONGEST_LOG:
            log.replace(log.with_name(log.name + ".1"))


def _die_with(parent: int, number: signal.Signals) -> Callable[[], None] | None:
    """Return what a child does before exec, so that the kernel signals it when the supervisor's main thread ends."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def before_exec() -> None:
        prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return before_exec
