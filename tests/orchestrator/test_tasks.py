import asyncio
import contextlib
from uuid import UUID

import psycopg
import pytest

from services.orchestrator.store.database import Database, DatabaseUnavailable
from services.orchestrator.store.inbox import Inbox
from services.orchestrator.store.tasks import LeaseLost, Run, TaskCancelled, TaskStore
from services.wire.base import TaskId
from services.wire.events import Event, EventKind
from services.wire.tasks import OrchestrateRequest, TaskStatus
from tests.orchestrator.conftest import WORKSPACE, Stores


async def test_a_created_task_is_queued_and_has_its_first_event(stores: Stores) -> None:
    task_id = await stores.queue(query="what is this?")
    row = await stores.tasks.get(task_id)
    assert row is not None
    assert (row.status, row.workspace_id, row.query) == (TaskStatus.QUEUED, WORKSPACE, "what is this?")
    assert [(event.seq, event.kind) for event in await stores.tasks.events(task_id)] == [(1, EventKind.TASK_QUEUED)]


async def test_a_second_claim_of_a_busy_workspace_waits_its_turn(stores: Stores) -> None:
    first, second = await stores.queue(), await stores.queue()
    run = await stores.tasks.claim()
    assert run is not None
    assert run.task_id == first
    assert await stores.tasks.claim() is None
    assert await stores.tasks.claim(second) is None
    await stores.tasks.finish(run.task_id, run.run_no, TaskStatus.SUCCEEDED, {})
    later = await stores.tasks.claim()
    assert later is not None
    assert later.task_id == second


async def test_tasks_of_one_workspace_run_in_order_even_when_named(stores: Stores) -> None:
    await stores.queue()
    assert await stores.tasks.claim(await stores.queue()) is None


async def test_other_workspaces_do_not_wait(stores: Stores) -> None:
    await stores.claimed()
    await stores.queue()
    other = await stores.queue("https://host/owner/other")
    run = await stores.tasks.claim()
    assert run is not None
    assert run.task_id == other


async def test_of_many_claims_at_once_one_wins(stores: Stores) -> None:
    await stores.queue()
    async with asyncio.TaskGroup() as group:
        claims = [group.create_task(stores.tasks.claim()) for _ in range(12)]
    assert sum(claim.result() is not None for claim in claims) == 1


async def test_the_run_number_rises_over_all_tasks_of_a_workspace(stores: Stores) -> None:
    numbers = []
    for _ in range(3):
        run = await stores.claimed()
        numbers.append(run.run_no)
        await stores.tasks.finish(run.task_id, run.run_no, TaskStatus.SUCCEEDED, {})
    assert numbers == [1, 2, 3]


async def test_a_run_that_lost_its_lease_changes_nothing(stores: Stores) -> None:
    lost = await stores.claimed()
    await stores.expire(lost)
    taken = await stores.tasks.claim()
    assert taken is not None
    assert (taken.task_id, taken.run_no) == (lost.task_id, lost.run_no + 1)
    with pytest.raises(LeaseLost):
        await stores.tasks.append(lost, EventKind.MODEL_TURN, {})
    with pytest.raises(LeaseLost):
        await stores.tasks.renew(lost)
    with pytest.raises(LeaseLost):
        await stores.tasks.release(lost)
    with pytest.raises(LeaseLost):
        await stores.tasks.finish(lost.task_id, lost.run_no, TaskStatus.SUCCEEDED, {})
    assert [event.kind for event in await stores.tasks.log(lost.task_id)] == [EventKind.TASK_QUEUED]


async def test_a_task_whose_runs_vanish_is_given_up_after_the_third(stores: Stores) -> None:
    run: Run | None = await stores.claimed()
    for _ in range(3):
        assert run is not None
        assert await stores.tasks.lost() == []
        await stores.expire(run)
        run = await stores.tasks.claim()
    assert run is not None
    await stores.expire(run)
    assert await stores.tasks.claim() is None
    assert [lost.task_id for lost in await stores.tasks.lost()] == [run.task_id]


async def test_a_released_task_is_claimed_again_and_counts_no_loss(stores: Stores) -> None:
    for _ in range(5):
        run = await stores.claimed() if not await stores.tasks.page() else await stores.tasks.claim()
        assert run is not None
        await stores.tasks.release(run)
    assert await stores.tasks.lost() == []


async def test_event_numbers_are_gap_free_in_commit_order_under_concurrent_writes(stores: Stores) -> None:
    run = await stores.claimed()
    async with asyncio.TaskGroup() as group:
        for number in range(40):
            group.create_task(stores.tasks.append(run, EventKind.TOOL_RESULT, {"n": number}))
    log = await stores.tasks.log(run.task_id)
    assert [event.seq for event in log] == list(range(1, 42))
    assert sorted(event.data["n"] for event in log[1:]) == list(range(40))


async def test_cancelling_a_queued_task_ends_it_with_an_event(stores: Stores) -> None:
    task_id = await stores.queue()
    assert await stores.tasks.cancel(task_id) is TaskStatus.CANCELLED
    assert [event.kind for event in await stores.tasks.log(task_id)] == [EventKind.TASK_QUEUED, EventKind.TASK_FINISHED]
    assert await stores.tasks.claim() is None
    assert await stores.tasks.cancel(task_id) is None


async def test_a_running_task_hears_of_its_cancellation_at_the_next_renewal(stores: Stores) -> None:
    run = await stores.claimed()
    await stores.tasks.renew(run)
    assert await stores.tasks.cancel(run.task_id) is TaskStatus.RUNNING
    with pytest.raises(TaskCancelled):
        await stores.tasks.renew(run)


async def test_a_cancelled_run_that_vanishes_is_not_run_again(stores: Stores) -> None:
    run = await stores.claimed()
    await stores.tasks.cancel(run.task_id)
    await stores.expire(run)
    assert await stores.tasks.claim() is None
    assert [(lost.task_id, lost.cancelled) for lost in await stores.tasks.lost()] == [(run.task_id, True)]


async def test_a_follower_sees_every_event_once_from_before_during_and_at_the_end(stores: Stores) -> None:
    run = await stores.claimed()
    seen: list[Event] = []

    async def follow() -> None:
        seen.extend([event async for event in stores.tasks.follow(run.task_id)])

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(follow())
        for number in range(30):
            await stores.tasks.append(run, EventKind.TOOL_RESULT, {"n": number})
        await stores.tasks.finish(run.task_id, run.run_no, TaskStatus.SUCCEEDED, {})
    assert [event.seq for event in seen] == list(range(1, 33))


async def test_a_follower_resumes_after_the_last_it_saw(stores: Stores) -> None:
    run = await stores.claimed()
    for number in range(5):
        await stores.tasks.append(run, EventKind.TOOL_RESULT, {"n": number})
    await stores.tasks.finish(run.task_id, run.run_no, TaskStatus.SUCCEEDED, {})
    assert [event.seq async for event in stores.tasks.follow(run.task_id, after=4)] == [5, 6, 7]


async def test_a_follower_without_notifications_still_gets_everything(stores: Stores) -> None:
    deaf = TaskStore(stores.database, Inbox(stores.database.url), lease_s=30.0)
    run = await stores.claimed()
    seen: list[int] = []

    async def follow() -> None:
        seen.extend([event.seq async for event in deaf.follow(run.task_id)])

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(follow())
        await stores.tasks.append(run, EventKind.MODEL_TURN, {})
        await stores.tasks.finish(run.task_id, run.run_no, TaskStatus.SUCCEEDED, {})
    assert seen == [1, 2, 3]


async def test_what_postgres_cannot_store_is_replaced_not_refused(stores: Stores) -> None:
    run = await stores.claimed()
    await stores.tasks.append(run, EventKind.TOOL_RESULT, {"text": "nul \x00, lone \udcff, fine ü", "list": ["\x00"]})
    stored = (await stores.tasks.log(run.task_id))[-1].data
    assert stored == {"text": "nul \u2400, lone ?, fine ü", "list": ["\u2400"]}


async def test_attachments_are_bytes_and_the_newest_wins(stores: Stores) -> None:
    run = await stores.claimed()
    assert await stores.tasks.attachment(run.task_id, EventKind.WORKSPACE_SAVED) is None
    for patch in (b"old", b"new \x00\xff"):
        await stores.tasks.append(run, EventKind.WORKSPACE_SAVED, {}, attachment=patch)
    assert await stores.tasks.attachment(run.task_id, EventKind.WORKSPACE_SAVED) == b"new \x00\xff"


async def test_pages_are_newest_first_and_meet_without_gap(stores: Stores) -> None:
    made = [await stores.queue(f"https://host/o/{number}") for number in range(7)]
    first = await stores.tasks.page(limit=4)
    rest = await stores.tasks.page(limit=4, before=(first[-1].created_at, UUID(first[-1].id)))
    assert [row.id for row in first + rest] == made[::-1]


async def test_many_replicas_starting_at_once_migrate_once(postgres_url: str) -> None:
    async def start() -> None:
        async with Database(postgres_url, size=2).open():
            pass

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(start())
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("select name from schema_migrations").fetchall() == [("0001_initial.sql",)]


async def test_a_database_that_is_not_there_is_one_clear_error() -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        async with asyncio.timeout(20), database.open():
            pass


async def test_the_stored_request_is_the_accepted_one(stores: Stores) -> None:
    task_id = await stores.queue(query="  spaces stay ")
    row = await stores.tasks.get(task_id)
    assert row is not None
    accepted = OrchestrateRequest(query="  spaces stay ", repo_url="https://host/owner/name")
    assert OrchestrateRequest.model_validate(row.request) == accepted


async def stored_as(stores: Stores, task_id: TaskId, change: str) -> None:
    """Change a stored request, as another version would have written it."""
    async with stores.database.connection() as connection:
        await connection.execute("update tasks set request = request || %s::jsonb where id = %s", (change, task_id))


async def test_a_request_of_a_newer_version_is_run_as_far_as_it_is_understood(stores: Stores) -> None:
    task_id = await stores.queue(query="known")
    await stored_as(stores, task_id, '{"later_field": 1}')
    run = await stores.tasks.claim()
    assert run is not None
    assert run.request.query == "known"


async def test_a_request_that_cannot_be_read_fails_its_task_and_no_other(stores: Stores) -> None:
    bad = await stores.queue()
    await stored_as(stores, bad, '{"max_steps": "many"}')
    good = await stores.queue("https://host/owner/other")
    run = await stores.tasks.claim()
    assert run is not None
    assert run.task_id == good
    row = await stores.tasks.get(bad)
    assert row is not None
    assert row.status is TaskStatus.FAILED


async def finished(stores: Stores, commit: str | None, patch: bytes | None) -> TaskId:
    """A task that ended with these changes."""
    run = await stores.claimed()
    await stores.tasks.append(run, EventKind.WORKSPACE_SAVED, {"commit": commit}, attachment=patch)
    await stores.tasks.finish(run.task_id, run.run_no, TaskStatus.SUCCEEDED, {})
    return run.task_id


async def test_the_newest_delivered_changes_are_told_to_the_next_run(stores: Stores) -> None:
    older, newer = await finished(stores, "a" * 40, b"patch"), await finished(stores, "b" * 40, b"patch")
    assert await stores.tasks.delivered(newer) == "b" * 40
    assert await stores.tasks.delivered(older) == "a" * 40
    assert (await stores.claimed()).delivered == "b" * 40


async def test_what_cannot_be_taken_is_not_delivered(stores: Stores) -> None:
    taken = await finished(stores, "a" * 40, b"patch")
    await stores.tasks.delivered(taken)
    for task_id in (await finished(stores, "b" * 40, None), await finished(stores, None, b""), await stores.queue()):
        assert await stores.tasks.delivered(task_id) is None
    run = await stores.tasks.claim()
    assert run is not None
    assert run.delivered == "a" * 40


async def test_a_cancellation_the_driver_swallows_is_raised_after_all(stores: Stores) -> None:
    inside = asyncio.Event()

    async def query() -> None:
        async with stores.database.connection():
            inside.set()
            with contextlib.suppress(asyncio.CancelledError):  # as wait_for of Python 3.11 can
                await asyncio.Event().wait()

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        task = group.create_task(query())
        await inside.wait()
        task.cancel()
    assert task.cancelled()


async def test_cleaning_up_after_a_cancellation_may_still_write(stores: Stores) -> None:
    run = await stores.claimed()
    waiting = asyncio.Event()

    async def work() -> None:
        try:
            waiting.set()
            await asyncio.Event().wait()
        finally:
            await stores.tasks.append(run, EventKind.MODEL_TURN, {})
            await stores.tasks.release(run)

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        task = group.create_task(work())
        await waiting.wait()
        task.cancel()
    row = await stores.tasks.get(run.task_id)
    assert row is not None
    assert row.status is TaskStatus.QUEUED
