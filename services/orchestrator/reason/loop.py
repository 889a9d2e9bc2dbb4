"""The loop: sample, act, observe, until the model answers or a limit is reached. Knows no workspace and no lease.

Whatever it decides, it decides from the log; so a resumed run goes on where the last one stopped.
"""

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from services.orchestrator.hub import Observation, Tool
from services.orchestrator.model.turn import Message, Model, ModelNonsense, Sampling, ToolSpec, Turn
from services.orchestrator.reason import prompt, view
from services.orchestrator.reason.payloads import Outcome
from services.orchestrator.reason.record import Record
from services.wire.errors import ErrorCode, ErrorInfo
from services.wire.events import EventKind, IntentData, ObservationData, ToolCall, TurnData
from services.wire.tasks import TaskStatus

SAMPLES = 3
"""Times a turn is asked for before the endpoint is given up; bad turns never enter the log."""

OBSERVATION_LIMIT = 20_000
"""Characters of one observation that the model is shown."""

Use = Callable[[str, dict[str, Any]], Awaitable[Observation]]
"""Calls a tool by name."""


class Loop:
    """One task's conversation between a model and its tools."""

    def __init__(self, model: Model, record: Record, tools: tuple[Tool, ...], use: Use) -> None:
        self._model = model
        self._record = record
        self._tools = {tool.name: ToolSpec(tool.name, tool.description, tool.schema) for tool in tools}
        self._use = use

    async def run(self) -> Outcome:
        """Go on until there is an answer.

        Raises:
            ModelUnreachable, ModelNonsense: no turn could be had.
            ServiceError: a tool could not be reached at all.
        """
        while True:
            for call in view.pending(self._record.events):
                await self._act(call)
            answer = view.answer(self._record.events)
            if answer is not None:
                return Outcome(status=TaskStatus.SUCCEEDED, answer=answer)
            if self._record.step >= self._record.run.request.max_steps:
                return await self._last_word()
            turn, seconds = await self._sample(tuple(self._tools.values()), [])
            await self._record.add(EventKind.MODEL_TURN, _turn_data(turn, seconds))

    async def _sample(self, tools: tuple[ToolSpec, ...], extra: list[Message]) -> tuple[Turn, float]:
        """Return a usable turn and its seconds; an empty or cut one is asked for again, with a word why."""
        request = self._record.run.request
        sampling = Sampling(request.model, request.reasoning_effort)
        messages = view.messages(self._record.run, self._record.events) + extra
        correction: list[Message] = []
        problem = ModelNonsense("The model returned nothing usable.")
        for _ in range(SAMPLES):
            began = time.monotonic()
            try:
                turn = await self._model.sample(messages + correction, tools, sampling, self._show)
            except ModelNonsense as error:
                problem = error
                continue
            if turn.finish == "length":
                problem = ModelNonsense("The model's turns are cut by the endpoint's token limit; raise its limit.")
                correction = [{"role": "user", "content": prompt.CUT_TURN}]
            elif not turn.calls and not turn.text.strip():
                problem = ModelNonsense(f"The model returned {SAMPLES} empty turns; try again or another model.")
                correction = [{"role": "user", "content": prompt.EMPTY_TURN}]
            else:
                return turn, time.monotonic() - began
        raise problem

    def _show(self, kind: str, text: str) -> None:
        self._record.show(EventKind.MODEL_DELTA, {kind: text})

    async def _act(self, call: ToolCall) -> None:
        """Carry out one call and write what came of it; a call that was begun by a lost run is not repeated."""
        if call.id in view.interrupted(self._record.events):
            await self._observe(call, Observation(ok=False, text=prompt.INTERRUPTED), 0.0)
            return
        arguments = parse_arguments(call.arguments)
        if call.name not in self._tools:
            known = ", ".join(self._tools)
            await self._observe(
                call, Observation(ok=False, text=f"error: no tool {call.name!r}; there are: {known}"), 0.0
            )
        elif arguments is None:
            text = "error: the arguments are not a JSON object; nothing was called"
            await self._observe(call, Observation(ok=False, text=text), 0.0)
        else:
            await self._record.add(EventKind.TOOL_INTENT, IntentData(call=call))
            began = time.monotonic()
            seen = await self._use(call.name, arguments)
            await self._observe(call, seen, time.monotonic() - began)

    async def _observe(self, call: ToolCall, seen: Observation, seconds: float) -> None:
        text = shorten(seen.text, OBSERVATION_LIMIT) or "(no output)"
        data = ObservationData(call_id=call.id, name=call.name, ok=seen.ok, text=text, seconds=round(seconds, 3))
        await self._record.add(EventKind.TOOL_RESULT, data)

    async def _last_word(self) -> Outcome:
        """Let the model sum up without tools; the task did not reach its end, and says so."""
        limit = self._record.run.request.max_steps
        turn, seconds = await self._sample((), [{"role": "user", "content": prompt.LAST_WORD}])
        turn = Turn(turn.text, turn.reasoning, (), turn.finish, turn.usage)
        await self._record.add(EventKind.MODEL_TURN, _turn_data(turn, seconds))
        message = f"The task used all of its {limit} steps; raise max_steps, or send the rest as a new task."
        error = ErrorInfo(code=ErrorCode.STEP_LIMIT, message=message)
        return Outcome(status=TaskStatus.FAILED, answer=turn.text, error=error)


def parse_arguments(text: str) -> dict[str, Any] | None:
    """Return a call's arguments, or None when they are no JSON object."""
    try:
        value = json.loads(text or "{}")
        # Half a surrogate pair and NaN can be read, but not be sent on.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def shorten(text: str, limit: int) -> str:
    """Return the text, its middle cut with a note when it is longer than `limit` characters."""
    if len(text) <= limit:
        return text
    head, tail = limit * 2 // 3, limit // 3
    return f"{text[:head]}\n… [{len(text) - head - tail} characters cut] …\n{text[-tail:]}"


def _turn_data(turn: Turn, seconds: float) -> TurnData:
    return TurnData(
        text=turn.text,
        reasoning=turn.reasoning,
        calls=_unique(turn.calls),
        finish=turn.finish,
        usage=turn.usage,
        seconds=round(seconds, 3),
    )


def _unique(calls: tuple[ToolCall, ...]) -> list[ToolCall]:
    """Ids name a call in the log; an endpoint that repeats or omits them gets new ones."""
    seen: set[str] = set()
    unique: list[ToolCall] = []
    for index, call in enumerate(calls):
        name = call.id if call.id and call.id not in seen else f"{call.id or 'call'}_{index}"
        seen.add(name)
        unique.append(call.model_copy(update={"id": name}))
    return unique
