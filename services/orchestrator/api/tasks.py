"""`/tasks`: list, read, follow, cancel; the patch of a task, and that it was taken."""

import base64
import binascii
import re
from collections.abc import AsyncIterator
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import JSONResponse, Response

from services.chassis.errors import ServiceError
from services.orchestrator.api.results import read_result, view_of
from services.orchestrator.api.sse import as_sse, sse_response
from services.orchestrator.api.state import Parts, caller
from services.orchestrator.store.tasks import TaskRow, TaskStore
from services.wire.base import WORKSPACE_PATTERN, TaskId, WorkspaceId
from services.wire.errors import ErrorCode
from services.wire.events import EventKind
from services.wire.tasks import CancelReply, DeliveredReply, TaskPage, TaskResult, TaskStatus

router = APIRouter(prefix="/tasks", dependencies=[Depends(caller)], tags=["tasks"])

_EVENT_ID = re.compile(r"[0-9]{1,10}")

After = Annotated[int, Query(ge=0, le=2**31)]


@router.get("")
async def list_tasks(
    parts: Parts,
    status: TaskStatus | None = None,
    workspace: Annotated[str | None, Query(pattern=WORKSPACE_PATTERN)] = None,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> TaskPage:
    """Tasks, newest first."""
    workspace_id = WorkspaceId(workspace) if workspace is not None else None
    before = read_cursor(cursor) if cursor else None
    rows = await parts["tasks"].page(status=status, workspace_id=workspace_id, before=before, limit=limit)
    more = make_cursor(rows[-1]) if len(rows) == limit else None
    return TaskPage(tasks=[view_of(row) for row in rows], next=more)


@router.get("/{task_id}")
async def read_task(task_id: str, parts: Parts) -> TaskResult:
    """A task and everything known of it so far."""
    return await read_result(parts["tasks"], await existing(parts["tasks"], task_id))


@router.get("/{task_id}/events", response_model=None)
async def follow_events(
    task_id: str,
    parts: Parts,
    after: After = 0,
    accept: Annotated[str, Header()] = "",
    last_event_id: Annotated[str, Header()] = "",
) -> Response:
    """Events after a sequence number: as a stream until the task ends, or as JSON by `Accept: application/json`."""
    store = parts["tasks"]
    task = await existing(store, task_id)
    start = int(last_event_id) if _EVENT_ID.fullmatch(last_event_id) else after
    if "application/json" in accept:
        events = await store.events(task.id, after=start)
        return JSONResponse({"events": [event.model_dump(mode="json") for event in events]})
    if task.status.final and not await store.events(task.id, after=start, limit=1):
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def stream() -> AsyncIterator[dict[str, Any]]:
        async for event in store.follow(task.id, after=start):
            yield as_sse(event)

    return sse_response(stream())


@router.get("/{task_id}/diff", response_class=Response, responses={200: {"content": {"text/x-diff": {}}}})
async def read_diff(task_id: str, parts: Parts) -> Response:
    """The patch of the task's changes, for `git apply`; empty when nothing changed."""
    task = await existing(parts["tasks"], task_id)
    patch = await parts["tasks"].attachment(task.id, EventKind.WORKSPACE_SAVED)
    return Response(patch or b"", media_type="text/x-diff")


@router.post("/{task_id}/delivered")
async def mark_delivered(task_id: str, parts: Parts) -> DeliveredReply:
    """Say that the task's changes were taken: the next task of its workspace starts from the repository again."""
    task = await existing(parts["tasks"], task_id)
    commit = await parts["tasks"].delivered(task.id)
    if commit is None:
        message = f"There is no patch to take: the task is {task.status}, or was not to deliver one."
        raise ServiceError(ErrorCode.CONFLICT, message)
    return DeliveredReply(task_id=task.id, commit=commit)


@router.post("/{task_id}/cancel")
async def cancel_task(task_id: str, parts: Parts) -> CancelReply:
    """End a queued task now, a running one within seconds."""
    task = await existing(parts["tasks"], task_id)
    status = await parts["tasks"].cancel(task.id)
    if status is None:
        raise ServiceError(ErrorCode.CONFLICT, f"The task has already ended: it is {task.status}.")
    return CancelReply(task_id=task.id, status=status)


async def existing(store: TaskStore, task_id: str) -> TaskRow:
    """Return the task of that id.

    Raises:
        ServiceError: 404.
    """
    try:
        wanted = TaskId(str(UUID(task_id)))
    except ValueError:
        wanted = None
    row = await store.get(wanted) if wanted else None
    if row is None:
        raise ServiceError(ErrorCode.NOT_FOUND, f"There is no task {task_id[:64]!r}; GET /tasks lists them.")
    return row


def make_cursor(row: TaskRow) -> str:
    """Return the place in the list after a task."""
    return base64.urlsafe_b64encode(f"{row.created_at.isoformat()} {row.id}".encode()).decode()


def read_cursor(cursor: str) -> tuple[datetime, UUID]:
    """Return the place a cursor means.

    Raises:
        ServiceError: 422.
    """
    try:
        at, _, last = base64.urlsafe_b64decode(cursor).decode().partition(" ")
        place = datetime.fromisoformat(at), UUID(last)
    except (binascii.Error, ValueError) as error:
        message = "Field 'cursor': not one this API gave; start without it."
        raise ServiceError(ErrorCode.INVALID_FIELD, message) from error
    if place[0].tzinfo is None:
        raise ServiceError(ErrorCode.INVALID_FIELD, "Field 'cursor': not one this API gave; start without it.")
    return place
