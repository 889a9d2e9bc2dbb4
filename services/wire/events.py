"""Rows of a task's event log, the only state of a task. Knows no store and no transport."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from services.wire.base import Reply


class EventKind(StrEnum):
    """What happened. `model.delta` and `tool.progress` are live only and never stored."""

    TASK_QUEUED = "task.queued"
    TASK_STARTED = "task.started"
    TASK_RESUMED = "task.resumed"
    CONTAINER_STARTING = "container.starting"
    CONTAINER_READY = "container.ready"
    WORKSPACE_READY = "workspace.ready"
    MEMORY_RECALLED = "memory.recalled"
    MODEL_DELTA = "model.delta"
    MODEL_TURN = "model.turn"
    PLAN_UPDATED = "plan.updated"
    TOOL_INTENT = "tool.intent"
    TOOL_PROGRESS = "tool.progress"
    TOOL_RESULT = "tool.result"
    APPROVAL_REQUESTED = "approval.requested"
    BUDGET_WARNING = "budget.warning"
    WORKSPACE_SAVED = "workspace.saved"
    TASK_FINISHED = "task.finished"


class Event(Reply):
    """One row: `seq` is gap-free per task and equals commit order; 0 marks a live event that is not stored."""

    seq: int
    at: datetime
    kind: EventKind
    run_no: int
    step: int
    data: dict[str, Any] = {}


class ToolCall(Reply):
    """A call the model asked for. `arguments` is the text as it came; it need not be JSON."""

    id: str
    name: str
    arguments: str


class TurnUsage(Reply):
    """Tokens of one model call as the endpoint reported them."""

    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


class TurnData(Reply):
    """Payload of `model.turn`."""

    text: str = ""
    reasoning: str = ""
    calls: list[ToolCall] = []
    finish: str = "stop"
    usage: TurnUsage = TurnUsage()
    seconds: float = 0.0


class IntentData(Reply):
    """Payload of `tool.intent`: written before the tool is called."""

    call: ToolCall


class ObservationData(Reply):
    """Payload of `tool.result`: what the model is shown for a call."""

    call_id: str
    name: str
    ok: bool
    text: str
    seconds: float = 0.0
