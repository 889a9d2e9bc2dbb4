import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from services.orchestrator.dispatch import Dispatcher
from services.orchestrator.store.tasks import LeaseLost, LostTask, Run, TaskStore
from services.wire.base import TaskId
from services.wire.tasks import TaskStatus
from tests.orchestrator.conftest import Stores

Act = Callable[[Run], Awaitable[None]]


class Doer:
    """Does with a run what the test says, and finishes tasks as the real one does."""

    def __init__(self, store: TaskStore, act: Act) -> None:
        self.store = store
        self.act = act
        self.began: asyncio.Queue[Run] = asyncio.Queue()
        self.lost: list[Run] = []
        self.endable = True

    async def carry_out(self, run: Run) -> None:
        self.began.put_nowait(run)
        try:
            await self.act(run)
            await self.finish(run, TaskStatus.SUCCEEDED)
        except LeaseLost:
            self.lost.append(run)
            raise

    async def cancelled(self, run: Run) -> None:
        await self.finish(run, TaskStatus.CANCELLED)

    async def broken(self, run: Run) -> None:
        if not self.endable:
            raise ValueError("no")
        await self.finish(run, TaskStatus.FAILED)

    async def abandoned(self, lost: LostTask) -> None:
        status = TaskStatus.CANCELLED if lost.cancelled else TaskStatus.FAILED
        await self.store.finish(lost.task_id, lost.run_no, status, {})

    async def finish(self, run: Run, status: TaskStatus) -> None:
        await self.store.finish(run.task_id, run.run_no, status, {})


async def forever(_: Run) -> None:
    await asyncio.Event().wait()


async def nothing(_: Run) -> None:
    return


@contextlib.asynccontextmanager
async def dispatching(stores: Stores, act: Act, *, max_runs: int = 8, lease_s: float = 30.0) -> AsyncIterator[Doer]:
    store = TaskStore(stores.database, stores.inbox, lease_s=lease_s)
    doer = Doer(store, act)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        loop = group.create_task(Dispatcher(store, stores.inbox, doer, max_runs=max_runs).run())
        yield doer
        loop.cancel()


async def ended(stores: Stores, task_id: TaskId) -> TaskStatus:
    async for _ in stores.tasks.follow(task_id):
        pass
    row = await stores.tasks.get(task_id)
    assert row is not None
    return row.status


async def test_a_queued_task_is_picked_up_whenever_it_comes(stores: Stores) -> None:
    before = await stores.queue()
    async with dispatching(stores, nothing):
        assert await ended(stores, before) is TaskStatus.SUCCEEDED
        assert await ended(stores, await stores.queue()) is TaskStatus.SUCCEEDED


async def test_tasks_of_one_workspace_follow_each_other(stores: Stores) -> None:
    tasks = [await stores.queue() for _ in range(4)]
    async with dispatching(stores, nothing) as doer:
        for task_id in tasks:
            assert await ended(stores, task_id) is TaskStatus.SUCCEEDED
    assert [doer.began.get_nowait().task_id for _ in tasks] == tasks


async def test_no_more_runs_at_once_than_allowed(stores: Stores) -> None:
    for number in range(3):
        await stores.queue(f"https://host/o/{number}")
    async with dispatching(stores, forever, max_runs=2) as doer:
        for _ in range(2):
            await doer.began.get()
        assert (await stores.tasks.queue()).queued == 1
        assert doer.began.empty()


async def test_cancelling_interrupts_the_work_at_once(stores: Stores) -> None:
    task_id = await stores.queue()
    async with dispatching(stores, forever) as doer:
        await doer.began.get()
        await stores.tasks.cancel(task_id)
        async with asyncio.timeout(5):  # the lease is 30 s: it was told, it did not find out
            assert await ended(stores, task_id) is TaskStatus.CANCELLED


async def test_an_unforeseen_failure_fails_its_task_and_no_other(
    stores: Stores, caplog: pytest.LogCaptureFixture
) -> None:
    async def explode(run: Run) -> None:
        if run.request.query == "bad":
            raise ZeroDivisionError

    bad = await stores.queue("https://host/o/1", "bad")
    good = await stores.queue("https://host/o/2", "good")
    async with dispatching(stores, explode):
        assert await ended(stores, bad) is TaskStatus.FAILED
        assert await ended(stores, good) is TaskStatus.SUCCEEDED
    assert "ZeroDivisionError" in caplog.text


async def test_a_process_that_ends_hands_its_tasks_back(stores: Stores) -> None:
    task_id = await stores.queue()
    async with dispatching(stores, forever) as doer:
        await doer.began.get()
    row = await stores.tasks.get(task_id)
    assert row is not None
    assert row.status is TaskStatus.QUEUED
    async with dispatching(stores, nothing):
        assert await ended(stores, task_id) is TaskStatus.SUCCEEDED


async def test_a_run_whose_lease_was_taken_stops_and_the_other_finishes(stores: Stores) -> None:
    stopped = asyncio.Event()

    async def until_stopped(_: Run) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    task_id = await stores.queue()
    async with dispatching(stores, until_stopped, lease_s=0.6) as doer:
        first = await doer.began.get()
        async with stores.database.connection() as connection:  # as another replica's claim does
            await connection.execute(
                "update tasks set run_no = run_no + 1, lease_until = now() + interval '60 s' where id = %s", (task_id,)
            )
        await stopped.wait()
        await stores.tasks.finish(task_id, first.run_no + 1, TaskStatus.SUCCEEDED, {})
        assert await ended(stores, task_id) is TaskStatus.SUCCEEDED


async def test_a_run_of_a_dead_process_is_taken_over_when_its_lease_ends(stores: Stores) -> None:
    dead = await stores.claimed()
    async with stores.database.connection() as connection:
        await connection.execute(
            "update tasks set lease_until = now() + interval '0.5 s' where id = %s", (dead.task_id,)
        )
    async with dispatching(stores, nothing):
        assert await ended(stores, dead.task_id) is TaskStatus.SUCCEEDED


async def test_a_task_that_kills_every_process_is_given_up(stores: Stores) -> None:
    run = await stores.claimed()
    async with stores.database.connection() as connection:
        await connection.execute(
            "update tasks set losses = max_losses, lease_until = now() - interval '1 s' where id = %s", (run.task_id,)
        )
    async with dispatching(stores, nothing):
        assert await ended(stores, run.task_id) is TaskStatus.FAILED


async def test_a_run_that_cannot_even_be_ended_harms_no_other(stores: Stores) -> None:
    async def explode(run: Run) -> None:
        if run.request.query == "bad":
            raise ZeroDivisionError

    bad = await stores.queue("https://host/o/1", "bad")
    good = await stores.queue("https://host/o/2", "good")
    async with dispatching(stores, explode) as doer:
        doer.endable = False
        assert await ended(stores, good) is TaskStatus.SUCCEEDED
        assert await ended(stores, await stores.queue("https://host/o/3", "later")) is TaskStatus.SUCCEEDED
    row = await stores.tasks.get(bad)
    assert row is not None
    assert row.status is TaskStatus.RUNNING
