"""Workspaces and the state of their containers, every change a compare-and-set. Knows no runtime."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg.rows import class_row

from services.orchestrator.domain import Repository
from services.orchestrator.store.database import Database, load_sql, one
from services.wire.base import WorkspaceId
from services.wire.containers import ContainerState

SQL = load_sql("workspaces")


@dataclass(frozen=True, slots=True)
class WorkspaceRow:
    """A workspace as stored; `queued` counts its waiting tasks, `busy` whether a run owns it."""

    id: WorkspaceId
    canonical: str | None
    kind: str
    run_no: int
    state: ContainerState
    epoch: int
    runtime: str
    isolation: str
    started_at: datetime | None
    last_used_at: datetime | None
    queued: int
    busy: bool


@dataclass(frozen=True, slots=True)
class IdleWorkspace:
    """A running container that nothing uses."""

    id: WorkspaceId
    epoch: int


class WorkspaceStore:
    """Every transaction on workspaces."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def upsert(self, workspace_id: WorkspaceId, repository: Repository | None) -> None:
        """Make sure the workspace exists; None makes a scratch one."""
        params = {
            "id": workspace_id,
            "canonical": repository.canonical if repository else None,
            "fetch_url": repository.fetch_url if repository else None,
            "kind": repository.kind if repository else "scratch",
        }
        await self._change("upsert", params)

    async def get(self, workspace_id: WorkspaceId) -> WorkspaceRow | None:
        """Return a workspace, or None."""
        async with self._database.connection() as connection:
            cursor = connection.cursor(row_factory=class_row(WorkspaceRow))
            row = await (await cursor.execute(SQL["get"], {"id": workspace_id})).fetchone()
        return _typed(row) if row else None

    async def with_containers(self, *, limit: int = 1000) -> list[WorkspaceRow]:
        """Workspaces that have, or had, a container, the most recently used first."""
        async with self._database.connection() as connection:
            cursor = connection.cursor(row_factory=class_row(WorkspaceRow))
            rows = await (await cursor.execute(SQL["with_containers"], {"limit": limit})).fetchall()
        return [_typed(row) for row in rows]

    async def idle(self, seconds: float) -> list[IdleWorkspace]:
        """Running containers unused for `seconds`, with no task waiting."""
        async with self._database.connection() as connection:
            cursor = connection.cursor(row_factory=class_row(IdleWorkspace))
            return await (await cursor.execute(SQL["idle"], {"idle": timedelta(seconds=seconds)})).fetchall()

    async def starting(self, workspace_id: WorkspaceId, runtime: str, isolation: str) -> int:
        """Begin a start and return its epoch; LookupError when the workspace is deleted or paused."""
        params = {"id": workspace_id, "runtime": runtime, "isolation": isolation}
        async with self._database.connection() as connection:
            (epoch,) = await one(await connection.execute(SQL["starting"], params))
        return int(epoch)

    async def running(self, workspace_id: WorkspaceId, epoch: int) -> bool:
        """Record that a start succeeded; False when a newer start has taken over."""
        return await self._change("running", {"id": workspace_id, "epoch": epoch})

    async def ended(self, workspace_id: WorkspaceId, epoch: int, state: ContainerState) -> bool:
        """Record that the container of `epoch` is stopped or failed; False when a newer one exists."""
        return await self._change("ended", {"id": workspace_id, "epoch": epoch, "state": state})

    async def stopping(self, workspace_id: WorkspaceId, epoch: int) -> bool:
        """Begin a stop; False while a run owns the workspace or when the container is another one by now."""
        return await self._change("stopping", {"id": workspace_id, "epoch": epoch})

    async def delete(self, workspace_id: WorkspaceId) -> bool:
        """Mark the workspace deleted; False while it has tasks that are not finished."""
        return await self._change("delete", {"id": workspace_id})

    async def touch(self, workspace_id: WorkspaceId) -> None:
        """Record a use."""
        await self._change("touch", {"id": workspace_id})

    async def _change(self, statement: str, params: dict[str, Any]) -> bool:
        async with self._database.connection() as connection:
            return await (await connection.execute(SQL[statement], params)).fetchone() is not None


def _typed(row: WorkspaceRow) -> WorkspaceRow:
    return WorkspaceRow(
        row.id,
        row.canonical,
        row.kind,
        row.run_no,
        ContainerState(row.state),
        row.epoch,
        row.runtime,
        row.isolation,
        row.started_at,
        row.last_used_at,
        row.queued,
        row.busy,
    )
