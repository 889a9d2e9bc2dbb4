"""Work under a guard: whoever fails first decides, and neither outlives the call."""

import asyncio

import pytest

from services.chassis.concurrency import first_failure, guarded


class Trace:
    """A guard that says whether it was ended."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()

    async def forever(self) -> None:
        """Go on until cancelled."""
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def fail(self) -> None:
        """Fail as soon as the other one has begun."""
        await self.begun.wait()
        raise LookupError("guard")


async def test_the_works_result_is_returned_and_the_guard_ended() -> None:
    guard = Trace()

    async def work() -> int:
        await guard.begun.wait()
        return 7

    async with asyncio.timeout(5):
        assert await guarded(work(), guard.forever()) == 7
    assert guard.ended.is_set()


async def test_a_failing_guard_ends_the_work_with_its_own_exception() -> None:
    work = Trace()
    async with asyncio.timeout(5):
        with pytest.raises(LookupError, match="guard"):
            await guarded(work.forever(), work.fail())
    assert work.ended.is_set()


async def test_failing_work_ends_the_guard_and_is_raised_plainly() -> None:
    guard = Trace()
    async with asyncio.timeout(5):
        with pytest.raises(LookupError, match="guard"):
            await guarded(guard.fail(), guard.forever())
    assert guard.ended.is_set()


async def test_cancelling_the_call_ends_both_and_stays_a_cancellation() -> None:
    work, guard = Trace(), Trace()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        call = group.create_task(guarded(work.forever(), guard.forever()))
        await work.begun.wait()
        await guard.begun.wait()
        call.cancel()
    assert call.cancelled()
    assert work.ended.is_set()
    assert guard.ended.is_set()


def test_the_first_plain_exception_of_nested_groups_is_found() -> None:
    wanted = KeyError("first")
    group = BaseExceptionGroup("a", [BaseExceptionGroup("b", [wanted]), ValueError("second")])
    assert first_failure(group) is wanted
