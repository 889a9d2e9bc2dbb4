"""Work under a guard, and exception groups flattened in one place. Knows no work."""

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def guarded(work: Awaitable[T], guard: Coroutine[Any, Any, None]) -> T:
    """Return what `work` returns; whichever of the two fails first decides, and neither outlives the call."""
    try:
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(guard, name="guard")
            result = await work
            watch.cancel()
    except BaseExceptionGroup as failures:
        raise first_failure(failures) from None
    return result


def cancellations() -> int:
    """Return how often the current task has been cancelled and not yet ended by it, for `raise_swallowed`."""
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


def raise_swallowed(before: int) -> None:
    """Raise the cancellation that somebody below has swallowed since `before`.

    `asyncio.wait_for` of Python 3.11 does so when a result arrives together with the cancellation, and libraries wait
    with it; whoever is cancelled would go on for ever. Python 3.12 does not.
    """
    if cancellations() > before:
        raise asyncio.CancelledError


def first_failure(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first plain exception of a group, however deep."""
    first = failures.exceptions[0]
    return first_failure(first) if isinstance(first, BaseExceptionGroup) else first
