"""What the model sees and what is still to do, as pure functions of a task's events."""

from typing import TypeVar

from services.orchestrator.model.turn import Message
from services.orchestrator.reason import prompt
from services.orchestrator.reason.payloads import WorkspaceData
from services.orchestrator.store.tasks import Run
from services.wire.events import Event, EventKind, IntentData, ObservationData, ToolCall, TurnData

T = TypeVar("T", ObservationData, IntentData)


def messages(run: Run, events: list[Event]) -> list[Message]:
    """The conversation: system, request, then each turn with the observations of its calls."""
    ready = workspace(events)
    files, missing = (ready.files, ready.files_missing) if ready else ([], [])
    view: list[Message] = [
        {"role": "system", "content": prompt.system(run, ready)},
        {"role": "user", "content": prompt.request(run.request.query, files, missing)},
    ]
    for event in events:
        if event.kind is EventKind.MODEL_TURN:
            view.append(_assistant(TurnData.model_validate(event.data)))
        elif event.kind is EventKind.TOOL_RESULT:
            seen = ObservationData.model_validate(event.data)
            view.append({"role": "tool", "tool_call_id": seen.call_id, "content": seen.text})
    return view


def workspace(events: list[Event]) -> WorkspaceData | None:
    """The newest `workspace.ready`."""
    found = [event for event in events if event.kind is EventKind.WORKSPACE_READY]
    return WorkspaceData.model_validate(found[-1].data) if found else None


def last_turn(events: list[Event]) -> TurnData | None:
    """The newest model turn."""
    turns = [event for event in events if event.kind is EventKind.MODEL_TURN]
    return TurnData.model_validate(turns[-1].data) if turns else None


def pending(events: list[Event]) -> list[ToolCall]:
    """Calls of the last turn that have no result yet, in order."""
    turn = last_turn(events)
    if turn is None:
        return []
    answered = {result.call_id for result in _since_last_turn(events, EventKind.TOOL_RESULT, ObservationData)}
    return [call for call in turn.calls if call.id not in answered]


def interrupted(events: list[Event]) -> set[str]:
    """Ids of pending calls whose intent was written: they may or may not have run."""
    intended = {intent.call.id for intent in _since_last_turn(events, EventKind.TOOL_INTENT, IntentData)}
    return intended & {call.id for call in pending(events)}


def answer(events: list[Event]) -> str | None:
    """The final answer: the text of a last turn without calls."""
    turn = last_turn(events)
    return turn.text if turn is not None and not turn.calls else None


def _since_last_turn(events: list[Event], kind: EventKind, data: type[T]) -> list[T]:
    start = max((index for index, event in enumerate(events) if event.kind is EventKind.MODEL_TURN), default=-1)
    return [data.model_validate(event.data) for event in events[start + 1 :] if event.kind is kind]


def _assistant(turn: TurnData) -> Message:
    message: Message = {"role": "assistant", "content": turn.text or None}
    if turn.calls:
        # GPT-OSS is trained to see its reasoning again until it has answered.
        if turn.reasoning:
            message["reasoning"] = turn.reasoning
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in turn.calls
        ]
    return message
