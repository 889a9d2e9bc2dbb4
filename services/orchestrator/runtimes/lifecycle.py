"""Containers as rows and as what a runtime sees, kept in step. Knows no task and no repository.

A start is a new epoch, taken by compare-and-set before the runtime is touched; what belongs to an older epoch is ended.
"""

import asyncio
import logging
from dataclasses import dataclass
from weakref import WeakValueDictionary

from services.chassis.errors import ServiceError
from services.orchestrator.runtimes.base import AgentSpec, Observed, Phase, Runtime
from services.orchestrator.store.database import DatabaseUnavailable
from services.orchestrator.store.workspaces import WorkspaceRow, WorkspaceStore
from services.wire.base import WorkspaceId
from services.wire.containers import ContainerState
from services.wire.errors import ErrorCode

logger = logging.getLogger(__name__)

UP = (ContainerState.STARTING, ContainerState.RUNNING, ContainerState.STOPPING)


@dataclass(frozen=True, slots=True)
class Ready:
    """A running agent; `started` tells whether this call started it."""

    observed: Observed
    started: bool


class Lifecycle:
    """Starts, stops, deletes and reaps agents, and says what there is."""

    def __init__(self, runtime: Runtime, workspaces: WorkspaceStore, *, idle_s: float) -> None:
        self.runtime = runtime
        self._workspaces = workspaces
        self._idle_s = idle_s
        self._locks: WeakValueDictionary[WorkspaceId, asyncio.Lock] = WeakValueDictionary()

    async def alive(self, workspace_id: WorkspaceId) -> Observed | None:
        """Return the running agent, or None; cheap enough to ask before every use."""
        seen = await self.runtime.inspect(workspace_id)
        return seen if seen is not None and seen.phase is Phase.RUNNING else None

    async def ensure(self, workspace_id: WorkspaceId) -> Ready:
        """Return the running agent, started if need be.

        Raises:
            AgentFailed: it did not start.
            ServiceError: 409 when the workspace was deleted or is paused.
        """
        async with self._locks.setdefault(workspace_id, asyncio.Lock()):
            if seen := await self.alive(workspace_id):
                await self._workspaces.touch(workspace_id)
                return Ready(seen, started=False)
            isolation = self.runtime.capabilities().isolation
            try:
                epoch = await self._workspaces.starting(workspace_id, self.runtime.name, isolation)
            except LookupError as error:
                raise ServiceError(
                    ErrorCode.CONFLICT,
                    f"The container of {workspace_id} was deleted or is paused; send the task again.",
                ) from error
            try:
                seen = await self.runtime.ensure(AgentSpec(workspace_id), epoch)
            except BaseException:
                await self._workspaces.ended(workspace_id, epoch, ContainerState.FAILED)
                raise
            await self._workspaces.running(workspace_id, epoch)
            return Ready(seen, started=True)

    async def stop(self, workspace_id: WorkspaceId) -> WorkspaceRow:
        """Stop the agent; its disk stays.

        Raises:
            ServiceError: 404 without such a container, 409 while a run owns the workspace.
        """
        async with self._locks.setdefault(workspace_id, asyncio.Lock()):
            row = await self.get(workspace_id)
            if row.state in UP:
                if not await self._workspaces.stopping(workspace_id, row.epoch):
                    raise busy(workspace_id)
                await self.runtime.stop(workspace_id)
                await self._workspaces.ended(workspace_id, row.epoch, ContainerState.STOPPED)
            return await self.get(workspace_id)

    async def delete(self, workspace_id: WorkspaceId) -> None:
        """Delete the container and its disk; the tasks' logs stay.

        Raises:
            ServiceError: 404 without such a container, 409 while it has unfinished tasks.
        """
        async with self._locks.setdefault(workspace_id, asyncio.Lock()):
            await self.get(workspace_id)
            if not await self._workspaces.delete(workspace_id):
                raise busy(workspace_id)
            await self.runtime.delete(workspace_id)

    async def get(self, workspace_id: WorkspaceId) -> WorkspaceRow:
        """Return one container's row, after a look at what is there.

        Raises:
            ServiceError: 404.
        """
        await self._reconcile(await self._workspaces.get(workspace_id))
        row = await self._workspaces.get(workspace_id)
        if row is None or row.state in (ContainerState.CREATED, ContainerState.DELETED):
            raise ServiceError(
                ErrorCode.NOT_FOUND, f"There is no container {workspace_id}; GET /containers lists them."
            )
        return row

    async def list(self) -> list[WorkspaceRow]:
        """Return every container's row, after a look at what is there."""
        for row in await self._workspaces.with_containers():
            await self._reconcile(row)
        return await self._workspaces.with_containers()

    async def reap(self, every_s: float) -> None:
        """Stop idle agents and record vanished ones, until cancelled."""
        while True:
            try:
                await self.list()
                for idle in await self._workspaces.idle(self._idle_s):
                    await self._stop_idle(idle.id, idle.epoch)
            except DatabaseUnavailable as error:
                logger.warning("cannot look for idle agents", extra={"error": error.message})
            await asyncio.sleep(every_s)

    async def _stop_idle(self, workspace_id: WorkspaceId, epoch: int) -> None:
        async with self._locks.setdefault(workspace_id, asyncio.Lock()):
            if await self._workspaces.stopping(workspace_id, epoch):
                await self.runtime.stop(workspace_id)
                await self._workspaces.ended(workspace_id, epoch, ContainerState.STOPPED)
                logger.info("idle agent stopped", extra={"workspace_id": workspace_id, "epoch": epoch})

    async def _reconcile(self, row: WorkspaceRow | None) -> None:
        """Record that a container which should be up is gone, unless someone is at it right now."""
        if row is None or row.state not in UP or await self.alive(row.id):
            return
        lock = self._locks.get(row.id)
        if row.state is not ContainerState.RUNNING and lock is not None and lock.locked():
            return
        await self._workspaces.ended(row.id, row.epoch, ContainerState.FAILED)

    async def shut_down(self) -> None:
        """Stop every agent of this process, at its end."""
        for row in await self._workspaces.with_containers():
            if row.state in UP and await self.runtime.inspect(row.id):
                await self.runtime.stop(row.id)
                await self._workspaces.ended(row.id, row.epoch, ContainerState.STOPPED)


def busy(workspace_id: WorkspaceId) -> ServiceError:
    """The refusal of a change while tasks use the workspace."""
    return ServiceError(
        ErrorCode.WORKSPACE_BUSY, f"Tasks are using {workspace_id}; cancel them or wait, then try again."
    )
