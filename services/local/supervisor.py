"""The supervisor: starts a stack's children in stages, keeps them running, stops them in the opposite order.

`serve` is one whole stack in the foreground; `python -m services.local.supervisor` is the same in the background,
telling who started it how far it got, one JSON object per line on a pipe.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from services.chassis.app import VERSION
from services.chassis.concurrency import first_failure, guarded
from services.chassis.logs import JsonFormatter
from services.local import model_settings, services
from services.local.child import Backoff, Child, ChildSpec, rotate
from services.local.errors import LocalError
from services.local.home import Home, environment
from services.local.ledger import Entry, Ledger
from services.local.leftovers import sweep
from services.local.locks import locked
from services.local.processes import Process

logger = logging.getLogger(__name__)

_LOCK_LIMIT_S = 2.0

Report = Callable[[dict[str, str]], None]


def _quiet() -> None:
    pass


class Supervisor:
    """Children in stages; `changed` is called after every start and death."""

    def __init__(
        self,
        stages: Sequence[Sequence[ChildSpec]],
        logs: Path,
        *,
        backoff: Backoff | None = None,
        changed: Callable[[], None] = _quiet,
    ) -> None:
        self._stages = [
            [Child(spec, logs / f"{spec.name}.log", backoff=backoff or Backoff(), changed=changed) for spec in stage]
            for stage in stages
        ]

    @property
    def children(self) -> list[Child]:
        """Every child, in the order of the stages."""
        return [child for stage in self._stages for child in stage]

    async def run(self, stop: asyncio.Event, *, ready: Callable[[], None] = _quiet) -> None:
        """Run the children until `stop` is set; `ready` is called once, when all of them are.

        Raises:
            LocalError: a child did not start; the others are stopped then.
        """
        try:
            await guarded(stop.wait(), self._start_and_keep(ready))
        finally:
            for child in reversed(self.children):
                await child.stop()

    async def _start_and_keep(self, ready: Callable[[], None]) -> None:
        try:
            for stage in self._stages:
                async with asyncio.TaskGroup() as group:
                    for child in stage:
                        group.create_task(child.start(), name=f"start {child.spec.name}")
        except BaseExceptionGroup as failures:
            raise first_failure(failures) from None
        ready()
        async with asyncio.TaskGroup() as group:
            for child in self.children:
                group.create_task(child.keep(), name=f"keep {child.spec.name}")


class Stack:
    """A supervisor with the real services of one home, and its `stack.json`."""

    def __init__(self, home: Home, doors: services.Doors, *, runtime: str, report: Report) -> None:
        env = environment()
        me = Process.find(os.getpid())
        assert me is not None
        self._home = home
        self._report = report
        self._ledger = Ledger(
            version=VERSION,
            supervisor=Entry(pid=me.pid, started=me.started),
            address=doors.address,
            port=doors.port,
            hub_port=doors.hub_port,
            runtime=runtime,
            database="DATABASE_URL" if env.get("DATABASE_URL") else "embedded",
            model=model_settings.digests(home, env),
            since=datetime.now(UTC),
        )
        self._ledger.write(home)
        stages = services.stages(home, doors, env, runtime=runtime)
        self._supervisor = Supervisor(stages, home.logs, changed=self._write)

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await self._supervisor.run(stop, ready=self._ready)

    def _ready(self) -> None:
        self._ledger = self._ledger.model_copy(update={"ready": True})
        self._write()
        logger.info("stack is ready", extra={"address": self._ledger.address})
        self._report({"ready": self._ledger.address})

    def _write(self) -> None:
        entries = {
            child.spec.name: Entry(pid=found.pid, started=found.started, restarts=child.restarts)
            for child in self._supervisor.children
            if child.pid is not None and (found := Process.find(child.pid)) is not None
        }
        if not self._ledger.ready:
            for name in entries.keys() - self._ledger.children.keys():
                self._report({"step": f"starting {name}"})
        # A child that is down keeps its entry: status shows it, not alive.
        self._ledger = self._ledger.model_copy(update={"children": {**self._ledger.children, **entries}})
        self._ledger.write(self._home)


def serve(home: Home, *, port: int, runtime: str, report: Report) -> None:
    """Run the home's stack in this process until SIGTERM or SIGINT; nothing of it is left then.

    Raises:
        LocalError: it cannot start, or another supervisor serves this home.
    """
    home.prepare()
    with locked(home.path / "supervisor.lock", _LOCK_LIMIT_S, busy="A stack of this home is already running."):
        sweep(home)
        home.prepare()
        try:
            with contextlib.closing(services.Doors.open(port)) as doors, _logging_to(home.logs / "supervisor.log"):
                asyncio.run(Stack(home, doors, runtime=runtime, report=report).run())
        finally:
            sweep(home)


@contextlib.contextmanager
def _logging_to(log: Path) -> Iterator[None]:
    rotate(log)
    handler = logging.FileHandler(log, encoding="utf-8")
    handler.setFormatter(JsonFormatter())
    ours = logging.getLogger("services")
    ours.setLevel(logging.INFO)
    ours.addHandler(handler)
    try:
        yield
    finally:
        ours.removeHandler(handler)
        handler.close()


def main() -> int:
    """Serve a home in the background, reporting on the descriptor given with --report."""
    parser = argparse.ArgumentParser(prog="moorage-supervisor")
    parser.add_argument("--home", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--runtime", required=True)
    parser.add_argument("--report", type=int, required=True)
    wanted = parser.parse_args()
    os.set_inheritable(wanted.report, False)
    with os.fdopen(wanted.report, "w", encoding="utf-8") as pipe:

        def report(line: dict[str, str]) -> None:
            # Who started us may be gone; the stack runs on.
            with contextlib.suppress(OSError, ValueError):
                pipe.write(json.dumps(line) + "\n")
                pipe.flush()
                if "ready" in line:
                    pipe.close()

        try:
            serve(Home.find(wanted.home), port=wanted.port, runtime=wanted.runtime, report=report)
        except LocalError as error:
            report({"error": str(error)})
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
