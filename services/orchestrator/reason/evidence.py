"""A task's result as a pure function of its events: what was answered, changed, used, and how long the start took."""

from services.orchestrator.reason import view
from services.orchestrator.reason.payloads import ContainerData, Outcome, SavedData, StartedData
from services.wire.base import TaskId, WorkspaceId
from services.wire.events import Event, EventKind, TurnData
from services.wire.tasks import Changes, ModelInfo, StartTimes, TaskResult, TaskStatus, Usage


def result(task_id: TaskId, workspace_id: WorkspaceId, events: list[Event], outcome: Outcome) -> TaskResult:
    """Return everything the log tells about a task that stands at, or ended with, `outcome`."""
    ready = view.workspace(events)
    return TaskResult(
        task_id=task_id,
        workspace_id=workspace_id,
        status=outcome.status,
        answer=outcome.answer,
        changes=_changes(task_id, events),
        usage=_usage(events),
        start_ms=_start_times(events),
        files_missing=ready.files_missing if ready else [],
        model=_model(events),
        error=outcome.error,
    )


def progress(task_id: TaskId, workspace_id: WorkspaceId, status: TaskStatus, events: list[Event]) -> TaskResult:
    """Return the result so far of a task that is not finished."""
    return result(task_id, workspace_id, events, Outcome(status=status, answer=view.answer(events) or ""))


def _changes(task_id: TaskId, events: list[Event]) -> Changes:
    ready = view.workspace(events)
    saved = _last(events, EventKind.WORKSPACE_SAVED)
    base = ready.base if ready else None
    if saved is None:
        return Changes(base=base)
    data = SavedData.model_validate(saved.data)
    patch_url = f"/tasks/{task_id}/diff" if data.files and data.patch else None
    return Changes(files=data.files, patch_url=patch_url, commit=data.commit, base=base)


def _usage(events: list[Event]) -> Usage:
    turns = [TurnData.model_validate(event.data) for event in events if event.kind is EventKind.MODEL_TURN]
    return Usage(
        steps=len(turns),
        input_tokens=sum(turn.usage.input_tokens for turn in turns),
        output_tokens=sum(turn.usage.output_tokens for turn in turns),
        reasoning_tokens=sum(turn.usage.reasoning_tokens for turn in turns),
        seconds=_seconds(events[0], events[-1]) if events else 0.0,
    )


def _start_times(events: list[Event]) -> StartTimes:
    started = _last(events, EventKind.TASK_STARTED)
    ready, opened = _last(events, EventKind.WORKSPACE_READY), view.workspace(events)
    containers = [ContainerData.model_validate(e.data) for e in events if e.kind is EventKind.CONTAINER_READY]
    return StartTimes(
        queue=StartedData.model_validate(started.data).queue_ms if started else 0,
        container=sum(container.ms for container in containers),
        workspace=opened.fetch_ms + opened.open_ms if opened else 0,
        ready=round(_seconds(events[0], ready) * 1000) if ready else 0,
    )


def _model(events: list[Event]) -> ModelInfo | None:
    starts = [event for event in events if event.kind in (EventKind.TASK_STARTED, EventKind.TASK_RESUMED)]
    return StartedData.model_validate(starts[-1].data).model if starts else None


def _last(events: list[Event], kind: EventKind) -> Event | None:
    return next((event for event in reversed(events) if event.kind is kind), None)


def _seconds(first: Event, last: Event) -> float:
    return round((last.at - first.at).total_seconds(), 3)
