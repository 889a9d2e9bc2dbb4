"""A task's result from its row and log. Knows no HTTP."""

from pydantic import ValidationError

from services.orchestrator.reason import evidence
from services.orchestrator.store.tasks import TaskRow, TaskStore
from services.wire.errors import ErrorCode, ErrorInfo
from services.wire.tasks import TaskResult, TaskStatus, TaskView

SHOWN_QUERY = 500
"""Characters of a query that lists show."""


async def read_result(store: TaskStore, task: TaskRow) -> TaskResult:
    """Return the stored result of a finished task, or what the log tells of one that is not."""
    if task.status.final and (data := await store.final(task.id)):
        try:
            return TaskResult.model_validate(data)
        except ValidationError:  # it ended before any run could begin: its last event has no evidence
            pass
    events = await store.log(task.id)
    result = evidence.progress(task.id, task.workspace_id, task.status, events)
    if task.status is TaskStatus.CANCELLED:
        error = ErrorInfo(code=ErrorCode.CANCELLED, message="The task was cancelled before it began.")
        return result.model_copy(update={"error": error})
    if task.status is TaskStatus.FAILED:
        error = ErrorInfo(
            code=ErrorCode.INTERNAL, message="This version cannot read the stored request; send it again."
        )
        return result.model_copy(update={"error": error})
    return result


def view_of(task: TaskRow) -> TaskView:
    """Return a task as lists show it."""
    return TaskView(
        task_id=task.id,
        workspace_id=task.workspace_id,
        repo_url=task.repo_url,
        query=task.query[:SHOWN_QUERY],
        status=task.status,
        created_at=task.created_at,
        finished_at=task.finished_at,
    )
