"""At most one run acts: calls of an older run are refused, and those under way are ended first. Knows no tool."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from services.chassis.errors import ServiceError
from services.wire.errors import ErrorCode

_QUIET_S = 30.0


@dataclass(slots=True, eq=False)
class _Call:
    run: int
    scope: asyncio.Timeout
    interruptible: bool
    reason: ServiceError | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def end(self, reason: ServiceError) -> None:
        """Cancel the call where it stands, unless it is one of those that end by themselves in a moment."""
        if self.interruptible and self.reason is None:
            self.reason = reason
            self.scope.reschedule(asyncio.get_running_loop().time())


class Fence:
    """Knows the newest run and the calls under way. Run 0 is a client outside of any run: never stale."""

    def __init__(self) -> None:
        self.highest = 0
        self._calls: set[_Call] = set()
        self._stopping: ServiceError | None = None

    @contextlib.asynccontextmanager
    async def hold(self, run: int, *, interruptible: bool = True) -> AsyncIterator[None]:
        """Act for `run` inside the block, after every call of an older run has ended.

        Raises:
            ServiceError: stale_run when a newer run has called, before or meanwhile; not_ready when stopping.
        """
        self._admit(run)
        await self._quiet(run)
        self._admit(run)
        call = _Call(run, asyncio.timeout(None), interruptible)
        try:
            async with call.scope:
                self._calls.add(call)
                try:
                    yield
                finally:
                    self._calls.discard(call)
                    call.ended.set()
        except TimeoutError:
            if call.reason is None:
                raise
            raise call.reason from None

    def stop(self) -> None:
        """End what is under way and refuse what comes."""
        self._stopping = ServiceError(ErrorCode.NOT_READY, "The agent is stopping; repeat the call when it is back.")
        for call in list(self._calls):
            call.end(self._stopping)

    def _admit(self, run: int) -> None:
        if self._stopping is not None:
            raise self._stopping
        if 0 < run < self.highest:
            raise _stale(run, self.highest)
        if run > self.highest:
            self.highest = run
            for call in self._older(run):
                call.end(_stale(call.run, run))

    def _older(self, run: int) -> list[_Call]:
        return [call for call in self._calls if 0 < call.run < run]

    async def _quiet(self, run: int) -> None:
        try:
            async with asyncio.timeout(_QUIET_S):
                for call in self._older(run):
                    await call.ended.wait()
        except TimeoutError as error:
            message = "A call of an earlier run has not ended yet; try again in a moment."
            raise ServiceError(ErrorCode.WORKSPACE_BUSY, message) from error


def _stale(run: int, highest: int) -> ServiceError:
    message = f"Run {run} is over: run {highest} owns this workspace now; stop acting for it."
    return ServiceError(ErrorCode.STALE_RUN, message)
