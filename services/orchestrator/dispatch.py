"""Claims tasks and keeps their leases while they are worked on. Knows no model, no agent and no HTTP."""

import asyncio
import logging
from contextlib import suppress
from typing import Protocol

from services.chassis.concurrency import guarded
from services.orchestrator.store.database import DatabaseUnavailable
from services.orchestrator.store.inbox import Inbox
from services.orchestrator.store.tasks import LeaseLost, LostTask, Run, TaskCancelled, TaskStore

logger = logging.getLogger(__name__)

LONGEST_SLEEP_S = 60.0
CONCLUDE_LIMIT_S = 90.0


class Worker(Protocol):
    """What is done with a run; see `reason.work.Work`."""

    async def carry_out(self, run: Run) -> None:
        """Bring the task to its end."""

    async def cancelled(self, run: Run) -> None:
        """End a run that someone cancelled."""

    async def broken(self, run: Run) -> None:
        """End a run that failed in a way nobody foresaw."""

    async def abandoned(self, lost: LostTask) -> None:
        """End a task that no run may claim any more."""


class Dispatcher:
    """Runs up to `max_runs` tasks at once in this process."""

    def __init__(self, store: TaskStore, inbox: Inbox, work: Worker, *, max_runs: int) -> None:
        self._store = store
        self._inbox = inbox
        self._work = work
        self._max_runs = max_runs
        self._running: set[str] = set()

    async def run(self) -> None:
        """Claim whatever is open, now and at every wake-up, until cancelled; then hand unfinished tasks back."""
        with self._inbox.watch("new") as watch:
            async with asyncio.TaskGroup() as group:
                while True:
                    try:
                        pause = await self._claim_all(group)
                    except DatabaseUnavailable as error:
                        logger.warning("cannot claim", extra={"error": error.message})
                        pause = 1.0
                    await watch.wait(pause)

    async def _claim_all(self, group: asyncio.TaskGroup) -> float:
        """Start every task that may run; return the seconds after which to look again even if nothing is heard."""
        for lost in await self._store.lost():
            await self._end_lost(lost)
        while len(self._running) < self._max_runs and (run := await self._store.claim()):
            self._running.add(run.task_id)
            group.create_task(self._one(run), name=f"run-{run.task_id}")
        expiry = await self._store.next_expiry()
        return LONGEST_SLEEP_S if expiry is None else min(LONGEST_SLEEP_S, max(0.2, expiry + 0.1))

    async def _one(self, run: Run) -> None:
        """Work on one run; whatever happens, the task ends, is handed back, or is left to whoever owns it now."""
        context: dict[str, object] = {"task_id": run.task_id, "workspace_id": run.workspace_id, "run_no": run.run_no}
        try:
            await self._under_lease(run)
        except LeaseLost:
            logger.warning("lease lost", extra=context)
        except DatabaseUnavailable as error:
            logger.warning("run left to its lease", extra={**context, "error": error.message})
        except asyncio.CancelledError:  # this process ends; let another one continue
            with suppress(LeaseLost, DatabaseUnavailable):  # or it finished in the same instant
                await self._store.release(run)
            raise
        except Exception:
            logger.exception("run failed", extra=context)
            await self._end_broken(run, context)
        finally:
            self._running.discard(run.task_id)

    async def _end_lost(self, lost: LostTask) -> None:
        try:
            await self._work.abandoned(lost)
        except LeaseLost:
            pass  # another replica ended it first
        except DatabaseUnavailable:
            raise
        except Exception:
            logger.exception("lost task could not be ended", extra={"task_id": lost.task_id})

    async def _end_broken(self, run: Run, context: dict[str, object]) -> None:
        try:
            await self._work.broken(run)
        except (LeaseLost, DatabaseUnavailable):
            pass  # somebody else's by now, or soon
        except Exception:  # one task's failure never reaches another; its losses end it some day
            logger.exception("broken run could not be ended", extra=context)

    async def _under_lease(self, run: Run) -> None:
        try:
            await guarded(self._work.carry_out(run), self._keep_lease(run, heed_cancel=True))
        except TaskCancelled:
            async with asyncio.timeout(CONCLUDE_LIMIT_S):
                await guarded(self._work.cancelled(run), self._keep_lease(run, heed_cancel=False))

    async def _keep_lease(self, run: Run, *, heed_cancel: bool) -> None:
        """Renew each third of a lease.

        Raises:
            LeaseLost: another run owns the task, or renewing failed until the lease was over.
            TaskCancelled: someone asked for the task's end, if that is heeded.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._store.lease_s
        with self._inbox.watch(f"cancel:{run.task_id}") as watch:
            while True:
                try:
                    began = loop.time()
                    await self._store.renew(run)
                    deadline = began + self._store.lease_s
                except TaskCancelled:
                    if heed_cancel:
                        raise
                    deadline = began + self._store.lease_s
                except DatabaseUnavailable as error:
                    # By our own clock: past this moment another replica may be acting.
                    if loop.time() >= deadline - self._store.lease_s / 3:
                        raise LeaseLost from error
                await watch.wait(self._store.lease_s / 3)
