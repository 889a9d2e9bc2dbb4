"""A task's events and results as lines for a person. Knows no server."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ValidationError

from services.local.cli_terminal import Terminal, one_line
from services.wire.events import Event, EventKind, IntentData, ObservationData, ToolCall, TurnData
from services.wire.health import Health
from services.wire.tasks import Base, ModelInfo

_TELLING = ("command", "cmd", "path", "query", "pattern", "url", "code", "id", "name")
"""Arguments that say most about a call, best first."""

_PATCH_FILE = ("*** Add File: ", "*** Update File: ", "*** Delete File: ")
_SHORT_ID = 8


def parse_event(raw: dict[str, Any]) -> Event | None:
    """Return an event of the stream, or None for one that only a newer server knows."""
    try:
        return Event.model_validate(raw)
    except ValidationError:
        return None


def short(task_id: str) -> str:
    """Return as much of a task's id as people type."""
    return task_id[:_SHORT_ID]


def seconds(value: float) -> str:
    """Return a duration given in seconds as people say it."""
    if value < 0.0995:
        return f"{value * 1000:.0f} ms"
    if value < 9.95:
        return f"{value:.1f} s"
    if value < 90:
        return f"{value:.0f} s"
    if value < 5400:
        return f"{value / 60:.0f} min"
    if value < 129_600:
        return f"{value / 3600:.0f} h"
    return f"{value / 86_400:.0f} d"


def describe_call(call: ToolCall, width: int) -> str:
    """Return a tool call on one line: its name and the argument that says most."""
    return one_line(f"{call.name} {_gist(call.arguments)}".strip(), width)


def _gist(arguments: str) -> str:
    if files := [line.partition(": ")[2] for line in _patch_lines(arguments) if line.startswith(_PATCH_FILE)]:
        return ", ".join(files)
    try:
        given = json.loads(arguments)
    except ValueError:
        return arguments
    if not isinstance(given, dict):
        return arguments
    for name in _TELLING:
        if value := given.get(name):
            return " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return json.dumps(given, ensure_ascii=False) if given else ""


def _patch_lines(arguments: str) -> list[str]:
    if "*** Begin Patch" not in arguments:
        return []
    # The patch is a JSON string or the whole text; both have its lines once the escapes are undone.
    return arguments.replace("\\n", "\n").splitlines()


def describe_model(model: ModelInfo) -> str:
    """Return which model answers, where and why."""
    return f"model: {model.name} at {model.endpoint} ({model.why})"


def model_line(health: Health) -> str | None:
    """Return which model a server has, or why it has none; None when it does not say."""
    part = health.parts.get("model")
    if part is None:
        return None
    try:
        return one_line(describe_model(ModelInfo.model_validate(part.facts)), 400)
    except ValidationError:
        return one_line(f"model: {part.detail}", 400)


class Progress:
    """Prints a run's events on standard error, one line each, and keeps the spinner's words up to date.

    `quiet` leaves out everything but warnings; `after_model` are lines to print once it is known who answers.
    `local`: the repository is a path on this machine, whose owner may have edited it since.
    """

    def __init__(
        self,
        terminal: Terminal,
        *,
        quiet: bool = False,
        waiting: Callable[[str], None] | None = None,
        after_model: Sequence[str] = (),
        local: bool = False,
    ) -> None:
        self._terminal = terminal
        self._quiet = quiet
        self._after_model = after_model
        self._waiting = waiting or (lambda _: None)
        self._calls: dict[str, ToolCall] = {}
        self._local = local
        self._warned = False
        self.model_known = False

    def show(self, event: Event) -> None:
        """Print what an event means for the person who waits."""
        with_data = {
            EventKind.TASK_STARTED: self._started,
            EventKind.CONTAINER_READY: self._container,
            EventKind.WORKSPACE_READY: self._workspace,
            EventKind.MODEL_TURN: self._turn,
            EventKind.TOOL_INTENT: self._intent,
            EventKind.TOOL_RESULT: self._result,
            EventKind.BUDGET_WARNING: self._budget,
        }
        plain = {
            EventKind.TASK_QUEUED: "waiting for its turn",
            EventKind.CONTAINER_STARTING: "starting the container",
            EventKind.MODEL_DELTA: "the model is writing",
            EventKind.TASK_FINISHED: "",
        }
        if event.kind in plain:
            self._waiting(plain[event.kind])
        if event.kind is EventKind.TASK_RESUMED:
            self._say(f"  resumed as run {event.run_no}")
        elif printer := with_data.get(event.kind):
            try:
                printer(event.data)
            except ValidationError:
                # The payload of a newer server; a line less is better than no answer.
                return

    def say_model(self, line: str) -> None:
        """Print who answers, and what was kept until that is known."""
        self.model_known = True
        for text in (line, *self._after_model):
            self._say(text)

    def _say(self, text: str) -> None:
        if not self._quiet:
            self._terminal.note(text)

    def _started(self, data: dict[str, Any]) -> None:
        if data.get("model"):
            self.say_model(one_line(describe_model(ModelInfo.model_validate(data["model"])), 400))
        self._waiting("starting")

    def _container(self, data: dict[str, Any]) -> None:
        if data.get("isolation") == "none" and not self._warned:
            self._warned = True
            why = f" ({data['why']})" if data.get("why") else ""
            self._terminal.warn(f"the agent runs without isolation{why}: it can read and change your files")
        self._waiting("opening the repository")

    def _workspace(self, data: dict[str, Any]) -> None:
        if data.get("base"):
            base = Base.model_validate(data["base"])
            late = f", {base.behind} commit{'s' * (base.behind != 1)} behind upstream" if base.behind else ""
            if base.origin == "workspace":
                aside = "--start fresh sets them aside"
                way_out = f"; your newer edits are not in it; {aside}" if self._local else f" ({aside})"
                self._say(f"  goes on with undelivered changes of an earlier task{late}{way_out}")
            else:
                edits = " with your uncommitted changes" if data.get("dirty") else ""
                self._say(self._terminal.style(f"  from commit {base.commit[:10]}{edits}{late}", "dim"))
        for path in data.get("files_missing") or []:
            self._terminal.warn(f"no file {path}")
        self._waiting("thinking")

    def _turn(self, data: dict[str, Any]) -> None:
        turn = TurnData.model_validate(data)
        if turn.calls and turn.text.strip():
            self._say(self._terminal.style("  " + one_line(turn.text, self._terminal.width - 2), "dim"))
        self._waiting("thinking")

    def _intent(self, data: dict[str, Any]) -> None:
        call = IntentData.model_validate(data).call
        self._calls[call.id] = call
        self._waiting(describe_call(call, self._terminal.width - 4))

    def _result(self, data: dict[str, Any]) -> None:
        seen = ObservationData.model_validate(data)
        call = self._calls.pop(seen.call_id, None) or ToolCall(id=seen.call_id, name=seen.name, arguments="")
        good, bad = self._terminal.marks
        took = seconds(seen.seconds)
        text = describe_call(call, max(20, self._terminal.width - len(took) - 6))
        mark = self._terminal.style(good, "green") if seen.ok else self._terminal.style(bad, "red")
        self._say(f"{mark} {text}  {self._terminal.style(took, 'dim')}")
        if not seen.ok and seen.text.strip():
            first = seen.text.strip().splitlines()[0]
            self._say(self._terminal.style("    " + one_line(first, self._terminal.width - 4), "dim"))
        self._waiting("thinking")

    def _budget(self, data: dict[str, Any]) -> None:
        self._terminal.warn(str(data.get("message") or "the budget is nearly used up"))


def describe_event(event: Event, width: int) -> str:
    """Return an event as one line of a log."""
    data = event.data
    try:
        text = _LOG_LINES[event.kind](data) if event.kind in _LOG_LINES else ""
    except ValidationError:
        text = ""
    if not text and data:
        text = json.dumps(data, ensure_ascii=False, default=str)
    head = f"{event.at.astimezone().strftime('%H:%M:%S')}  {event.kind:<18} "
    return (head + one_line(text, max(20, width - len(head)))).rstrip()


def _log_started(data: dict[str, Any]) -> str:
    return describe_model(ModelInfo.model_validate(data["model"])) if data.get("model") else ""


def _log_turn(data: dict[str, Any]) -> str:
    turn = TurnData.model_validate(data)
    names = ", ".join(call.name for call in turn.calls)
    return f"{seconds(turn.seconds)}  {turn.text or turn.reasoning}{f' -> {names}' if names else ''}"


def _log_result(data: dict[str, Any]) -> str:
    seen = ObservationData.model_validate(data)
    return f"{'ok' if seen.ok else 'failed'} {seconds(seen.seconds)}  {seen.name}: {seen.text}"


def _log_intent(data: dict[str, Any]) -> str:
    return describe_call(IntentData.model_validate(data).call, 400)


def _log_finished(data: dict[str, Any]) -> str:
    error = data.get("error") or {}
    said = error.get("message") if isinstance(error, dict) else None
    return f"{data.get('status', '')}  {said or data.get('answer') or ''}"


_LOG_LINES: dict[EventKind, Callable[[dict[str, Any]], str]] = {
    EventKind.TASK_STARTED: _log_started,
    EventKind.MODEL_TURN: _log_turn,
    EventKind.TOOL_INTENT: _log_intent,
    EventKind.TOOL_RESULT: _log_result,
    EventKind.TASK_FINISHED: _log_finished,
}
