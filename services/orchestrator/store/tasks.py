"""Tasks and their event logs: create, claim, renew, append, finish, follow. Knows no model and no agent.

A task is owned by the run that claimed it last. The run names its `run_no` in every write, so one that was paused past
its lease and wakes up later changes nothing: its next write raises `LeaseLost`.
"""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import errors
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb
from pydantic import ValidationError

from services.orchestrator.store.database import Database, load_sql, one
from services.orchestrator.store.inbox import Inbox
from services.wire.base import TaskId, WorkspaceId
from services.wire.events import Event, EventKind
from services.wire.tasks import OrchestrateRequest, TaskStatus

logger = logging.getLogger(__name__)

SQL = load_sql("tasks")

PAGE = 500
"""Events read at once."""


class LeaseLost(Exception):
    """Another run owns this task now; stop without writing anything."""


class TaskCancelled(Exception):
    """A caller cancelled this task while it ran."""


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task as stored."""

    id: TaskId
    workspace_id: WorkspaceId
    request: dict[str, Any]
    status: TaskStatus
    run_no: int
    created_at: datetime
    finished_at: datetime | None

    @property
    def query(self) -> str:
        """What was asked."""
        return str(self.request.get("query", ""))

    @property
    def repo_url(self) -> str | None:
        """The repository as it was named."""
        named = self.request.get("repo_url")
        return None if named is None else str(named)


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt at a task, as handed to whoever claimed it."""

    task_id: TaskId
    workspace_id: WorkspaceId
    run_no: int
    request: OrchestrateRequest
    created_at: datetime
    canonical: str | None
    fetch_url: str | None
    kind: str
    delivered: str | None


@dataclass(frozen=True, slots=True)
class LostTask:
    """A task whose runs vanished, too often or after a cancel."""

    task_id: TaskId
    workspace_id: WorkspaceId
    run_no: int
    cancelled: bool


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How many tasks wait and how many run."""

    queued: int
    running: int


class TaskStore:
    """Every transaction on tasks and events."""

    def __init__(self, database: Database, inbox: Inbox, *, lease_s: float) -> None:
        self._database = database
        self._inbox = inbox
        self.lease_s = lease_s

    async def create(self, workspace_id: WorkspaceId, request: OrchestrateRequest) -> TaskRow:
        """Store a queued task with its first event."""
        stored = request.model_dump(mode="json")
        params = {
            "workspace_id": workspace_id,
            "request": Jsonb(stored),
            "data": Jsonb({"query": request.query[:2000]}),
        }
        async with self._database.connection() as connection:
            cursor = connection.cursor(row_factory=class_row(TaskRow))
            row: TaskRow = await one(await cursor.execute(SQL["create"], params))
        return _typed(row)

    async def claim(self, task_id: TaskId | None = None) -> Run | None:
        """Take the oldest open task, or the named one if it is open and its workspace free."""
        params = {"task_id": task_id, "lease": timedelta(seconds=self.lease_s)}
        async with self._database.connection() as connection:
            try:
                cursor = await connection.cursor(row_factory=dict_row).execute(SQL["claim"], params)
                row = await cursor.fetchone()
            except errors.UniqueViolation:  # another replica took this workspace in the same instant
                await connection.rollback()
                return None
        if row is None:
            return None
        try:
            # A field of a newer version is no reason not to run what an older one understands.
            request = OrchestrateRequest.model_validate(row["request"], extra="ignore")
        except ValidationError:
            logger.exception("a stored request cannot be read; its task fails", extra={"task_id": row["task_id"]})
            await self.finish(row["task_id"], row["run_no"], TaskStatus.FAILED, {})
            return await self.claim(task_id)
        return Run(**{**row, "request": request})

    async def renew(self, run: Run) -> None:
        """Prolong the lease.

        Raises:
            LeaseLost: another run owns the task.
            TaskCancelled: someone asked for its end.
        """
        row = await self._owned("renew", run, lease=timedelta(seconds=self.lease_s))
        if row["cancelled"]:
            raise TaskCancelled

    async def append(
        self, run: Run, kind: EventKind, data: dict[str, Any], *, step: int = 0, attachment: bytes | None = None
    ) -> Event:
        """Write the next event of a run.

        Raises:
            LeaseLost: another run owns the task; nothing was written.
        """
        data = storable(data)
        row = await self._owned("append", run, kind=kind, step=step, data=Jsonb(data), attachment=attachment)
        return Event(seq=row["seq"], at=row["at"], kind=kind, run_no=run.run_no, step=step, data=data)

    async def finish(
        self, task_id: TaskId, run_no: int, status: TaskStatus, data: dict[str, Any], *, step: int = 0
    ) -> None:
        """End a task with its last event.

        Raises:
            LeaseLost: another run owns the task, or it has ended.
        """
        params = {"task_id": task_id, "run_no": run_no, "status": status, "step": step, "data": Jsonb(storable(data))}
        async with self._database.connection() as connection:
            cursor = await connection.execute(SQL["finish"], params)
            if await cursor.fetchone() is None:
                raise LeaseLost

    async def release(self, run: Run) -> None:
        """Hand the task back, to be continued by another run.

        Raises:
            LeaseLost: there is nothing to hand back.
        """
        await self._owned("release", run)

    async def cancel(self, task_id: TaskId) -> TaskStatus | None:
        """End a queued task, tell a running one; None when there is no such open task."""
        data = Jsonb({"status": TaskStatus.CANCELLED})
        async with self._database.connection() as connection:
            cursor = await connection.execute(SQL["cancel"], {"task_id": task_id, "data": data})
            row = await cursor.fetchone()
        return TaskStatus(row[0]) if row else None

    async def delivered(self, task_id: TaskId) -> str | None:
        """Record that a task's changes have reached the user, so that its workspace need not go on with them.

        Returns their commit, None when the task has not ended or kept no patch that could be taken.
        """
        async with self._database.connection() as connection:
            row = await (await connection.execute(SQL["delivered"], {"task_id": task_id})).fetchone()
        return str(row[0]) if row else None

    async def lost(self) -> list[LostTask]:
        """Tasks that no run may claim any more although they are not finished."""
        async with self._database.connection() as connection:
            cursor = connection.cursor(row_factory=class_row(LostTask))
            return await (await cursor.execute(SQL["lost"])).fetchall()

    async def next_expiry(self) -> float | None:
        """Seconds until the first lease ends; negative when one has; None when nothing runs."""
        async with self._database.connection() as connection:
            (seconds,) = await one(await connection.execute(SQL["next_expiry"]))
        return None if seconds is None else float(seconds)

    async def get(self, task_id: TaskId) -> TaskRow | None:
        """Return a task, or None."""
        async with self._database.connection() as connection:
            cursor = connection.cursor(row_factory=class_row(TaskRow))
            row = await (await cursor.execute(SQL["get"], {"task_id": task_id})).fetchone()
        return _typed(row) if row else None

    async def page(
        self,
        *,
        status: TaskStatus | None = None,
        workspace_id: WorkspaceId | None = None,
        before: tuple[datetime, UUID] | None = None,
        limit: int = 50,
    ) -> list[TaskRow]:
        """Tasks, newest first, from before a given one."""
        at, last = before or (None, None)
        params = {"status": status, "workspace_id": workspace_id, "before_at": at, "before_id": last, "limit": limit}
        async with self._database.connection() as connection:
            cursor = connection.cursor(row_factory=class_row(TaskRow))
            return [_typed(row) for row in await (await cursor.execute(SQL["page"], params)).fetchall()]

    async def queue(self) -> QueueDepth:
        """How much is waiting and running, over all replicas."""
        async with self._database.connection() as connection:
            cursor = connection.cursor(row_factory=class_row(QueueDepth))
            depth: QueueDepth = await one(await cursor.execute(SQL["queue"]))
        return depth

    async def events(self, task_id: TaskId, *, after: int = 0, limit: int = PAGE) -> list[Event]:
        """Return the next events of a task after a sequence number."""
        params = {"task_id": task_id, "after": after, "limit": limit}
        async with self._database.connection() as connection:
            cursor = connection.cursor(row_factory=class_row(Event))
            return await (await cursor.execute(SQL["events"], params)).fetchall()

    async def log(self, task_id: TaskId) -> list[Event]:
        """Return every event of a task."""
        log: list[Event] = []
        while page := await self.events(task_id, after=log[-1].seq if log else 0):
            log += page
        return log

    async def final(self, task_id: TaskId) -> dict[str, Any] | None:
        """Return the payload of the last event of a finished task."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(SQL["final"], {"task_id": task_id})
            row = await cursor.fetchone()
        return dict(row[0]) if row else None

    async def attachment(self, task_id: TaskId, kind: EventKind) -> bytes | None:
        """Return the bytes of the newest event of a kind that has some."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(SQL["attachment"], {"task_id": task_id, "kind": kind})
            row = await cursor.fetchone()
        return bytes(row[0]) if row else None

    async def follow(self, task_id: TaskId, *, after: int = 0) -> AsyncIterator[Event]:
        """Yield a task's events after `after`, stored and live ones, until the task has ended."""
        with self._inbox.watch(f"event:{task_id}") as watch:
            while True:
                if watch.rows:
                    watch.rows = False
                    # Status first: an event written before the end is then always in what is read.
                    row = await self.get(task_id)
                    while page := await self.events(task_id, after=after):
                        for event in page:
                            yield event
                            if event.kind is EventKind.TASK_FINISHED:  # whoever reads it goes, perhaps mid-query
                                return
                        after = page[-1].seq
                    if row is None or row.status.final:
                        return
                while watch.live:
                    yield watch.live.popleft()
                if not watch.rows:
                    await watch.wait(1.0)

    async def ended(self, task_id: TaskId) -> TaskRow:
        """Return the task once it has ended."""
        with self._inbox.watch(f"event:{task_id}") as watch:
            while True:
                watch.live.clear()
                if watch.rows:
                    watch.rows = False
                    row = await self.get(task_id)
                    if row is None:
                        raise LookupError(task_id)
                    if row.status.final:
                        return row
                await watch.wait(5.0)

    async def _owned(self, statement: str, run: Run, /, **params: Any) -> dict[str, Any]:
        owner = {"task_id": run.task_id, "run_no": run.run_no}
        async with self._database.connection() as connection:
            cursor = await connection.cursor(row_factory=dict_row).execute(SQL[statement], {**owner, **params})
            row = await cursor.fetchone()
        if row is None:
            raise LeaseLost
        return row


def _typed(row: TaskRow) -> TaskRow:
    return TaskRow(
        row.id, row.workspace_id, row.request, TaskStatus(row.status), row.run_no, row.created_at, row.finished_at
    )


def storable(value: Any) -> Any:
    """Return a JSON value without what `jsonb` refuses: NUL characters and lone surrogates."""
    if isinstance(value, str):
        clean = value.replace("\x00", "\N{SYMBOL FOR NULL}")
        return clean.encode("utf-8", "replace").decode() if not clean.isascii() else clean
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return value
