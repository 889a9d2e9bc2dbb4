import json
from collections.abc import Callable
from typing import Any

import pytest

from services.orchestrator.hub import Observation, Tool
from services.orchestrator.model.turn import (
    Message,
    ModelIdentity,
    ModelNonsense,
    ModelUnreachable,
    Sampling,
    ToolSpec,
    Turn,
)
from services.orchestrator.reason import prompt, view
from services.orchestrator.reason.loop import SAMPLES, Loop, shorten
from services.orchestrator.reason.record import Record
from services.orchestrator.store.tasks import Run
from services.wire.errors import ErrorCode
from services.wire.events import EventKind, IntentData, ToolCall, TurnData
from services.wire.tasks import TaskStatus
from tests.orchestrator.conftest import Stores

Step = Turn | Exception


class Scripted:
    """A model that says what it is told to, and remembers what it was shown."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.shown: list[list[Message]] = []
        self.offered: list[int] = []

    async def identify(self, wanted: str | None = None) -> ModelIdentity:
        return ModelIdentity(wanted or "scripted", "here", "scripted", "a test")

    async def sample(
        self, messages: list[Message], tools: tuple[ToolSpec, ...], _: Sampling, on_delta: Callable[[str, str], None]
    ) -> Turn:
        self.shown.append(messages)
        self.offered.append(len(tools))
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        on_delta("text", step.text)
        return step


class Tools:
    """Two tools, and what they were called with."""

    listed = (Tool("a__read", "", {"type": "object"}), Tool("a__fail", "", {"type": "object"}))

    def __init__(self) -> None:
        self.used: list[tuple[str, dict[str, Any]]] = []

    async def use(self, name: str, arguments: dict[str, Any]) -> Observation:
        self.used.append((name, arguments))
        return Observation(ok=name != "a__fail", text=f"{name} saw {json.dumps(arguments)}")


def calls(*named: tuple[str, str], text: str = "") -> Turn:
    """A turn that calls tools, each with a text of arguments."""
    made = tuple(ToolCall(id=f"c{index}", name=name, arguments=text_) for index, (name, text_) in enumerate(named))
    return Turn(text=text, reasoning="because", calls=made, finish="tool_calls")


async def begin(stores: Stores, run: Run, model: Scripted, tools: Tools) -> tuple[Loop, Record]:
    record = await Record.load(run, stores.tasks, stores.inbox)
    return Loop(model, record, tools.listed, tools.use), record


async def test_an_answer_without_calls_ends_the_loop(stores: Stores) -> None:
    loop, record = await begin(stores, await stores.claimed(), Scripted(Turn(text="done")), Tools())
    outcome = await loop.run()
    assert (outcome.status, outcome.answer, outcome.error) == (TaskStatus.SUCCEEDED, "done", None)
    assert [event.kind for event in record.events] == [EventKind.TASK_QUEUED, EventKind.MODEL_TURN]


async def test_calls_are_carried_out_in_order_and_shown_to_the_model(stores: Stores) -> None:
    model, tools = Scripted(calls(("a__read", '{"p": 1}'), ("a__fail", "{}")), Turn(text="done")), Tools()
    loop, record = await begin(stores, await stores.claimed(), model, tools)
    await loop.run()
    assert tools.used == [("a__read", {"p": 1}), ("a__fail", {})]
    assistant, first, second = model.shown[1][2:]
    assert assistant["reasoning"] == "because"
    assert [call["id"] for call in assistant["tool_calls"]] == [first["tool_call_id"], second["tool_call_id"]]
    assert first["content"] == 'a__read saw {"p": 1}'
    kinds = [event.kind for event in record.events[2:-1]]
    assert kinds == [EventKind.TOOL_INTENT, EventKind.TOOL_RESULT] * 2


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("a__raed", "{}", "no tool 'a__raed'; there are: a__read, a__fail"),
        ("a__read", "{not json", "not a JSON object"),
        ("a__read", "[1]", "not a JSON object"),
    ],
)
async def test_a_call_that_cannot_be_made_is_told_to_the_model_and_makes_no_call(
    stores: Stores, name: str, arguments: str, said: str
) -> None:
    model, tools = Scripted(calls((name, arguments)), Turn(text="sorry")), Tools()
    loop, record = await begin(stores, await stores.claimed(), model, tools)
    assert (await loop.run()).status is TaskStatus.SUCCEEDED
    assert tools.used == []
    assert said in model.shown[1][-1]["content"]
    assert not record.of(EventKind.TOOL_INTENT)


async def test_empty_and_cut_turns_are_asked_again_and_never_logged(stores: Stores) -> None:
    cut = Turn(text="half", calls=(ToolCall(id="x", name="a__read", arguments='{"p"'),), finish="length")
    model, tools = Scripted(Turn(text=" \n"), cut, Turn(text="done")), Tools()
    loop, record = await begin(stores, await stores.claimed(), model, tools)
    assert (await loop.run()).answer == "done"
    assert tools.used == []
    assert len(record.of(EventKind.MODEL_TURN)) == 1
    assert model.shown[1][-1]["content"] == prompt.EMPTY_TURN
    assert model.shown[2][-1]["content"] == prompt.CUT_TURN


async def test_an_endpoint_that_answers_nonsense_is_given_up_after_some_tries(stores: Stores) -> None:
    model = Scripted(*[ModelNonsense("no completion")] * SAMPLES)
    loop, record = await begin(stores, await stores.claimed(), model, Tools())
    with pytest.raises(ModelNonsense, match="no completion"):
        await loop.run()
    assert model.steps == []
    assert not record.of(EventKind.MODEL_TURN)


async def test_an_endpoint_that_is_gone_is_not_asked_again(stores: Stores) -> None:
    model = Scripted(ModelUnreachable("gone"), Turn(text="never"))
    loop, _ = await begin(stores, await stores.claimed(), model, Tools())
    with pytest.raises(ModelUnreachable):
        await loop.run()
    assert len(model.steps) == 1


async def test_the_step_limit_ends_with_a_last_word_without_tools(stores: Stores) -> None:
    run = await stores.claimed()
    run = Run(
        **{**{f: getattr(run, f) for f in run.__slots__}, "request": run.request.model_copy(update={"max_steps": 2})}
    )
    turn = calls(("a__read", "{}"))
    model, tools = Scripted(turn, turn, Turn(text="as far as I got")), Tools()
    loop, _ = await begin(stores, run, model, tools)
    outcome = await loop.run()
    assert outcome.error is not None
    assert (outcome.status, outcome.error.code) == (TaskStatus.FAILED, ErrorCode.STEP_LIMIT)
    assert outcome.answer == "as far as I got"
    assert len(tools.used) == 2
    assert model.offered == [2, 2, 0]


async def test_a_resumed_run_goes_on_at_the_next_step_without_repeating_one(stores: Stores) -> None:
    first = await stores.claimed()
    loop, record = await begin(stores, first, Scripted(calls(("a__read", "{}"), ("a__fail", "{}"))), Tools())
    with pytest.raises(IndexError):  # the script ends here, as a killed process would
        await loop.run()
    await stores.expire(first)
    second = await stores.tasks.claim()
    assert second is not None
    model, tools = Scripted(Turn(text="done")), Tools()
    loop, record = await begin(stores, second, model, tools)
    assert (await loop.run()).answer == "done"
    assert tools.used == []
    assert record.step == 2


async def test_a_call_begun_by_a_lost_run_is_reported_as_interrupted_and_the_next_is_made(stores: Stores) -> None:
    first = await stores.claimed()
    turn = calls(("a__read", "{}"), ("a__fail", "{}"))
    await stores.tasks.append(first, EventKind.MODEL_TURN, TurnData(calls=list(turn.calls)).model_dump(mode="json"))
    await stores.tasks.append(first, EventKind.TOOL_INTENT, IntentData(call=turn.calls[0]).model_dump(mode="json"))
    await stores.expire(first)
    second = await stores.tasks.claim()
    assert second is not None
    model, tools = Scripted(Turn(text="done")), Tools()
    loop, _ = await begin(stores, second, model, tools)
    await loop.run()
    assert tools.used == [("a__fail", {})]
    assert model.shown[0][-2]["content"] == prompt.INTERRUPTED


async def test_repeated_call_ids_are_told_apart(stores: Stores) -> None:
    same = tuple(ToolCall(id="same", name="a__read", arguments=f'{{"n": {n}}}') for n in range(3))
    tools = Tools()
    loop, record = await begin(
        stores, await stores.claimed(), Scripted(Turn(calls=same, finish="tool_calls"), Turn(text="x")), tools
    )
    await loop.run()
    assert [arguments["n"] for _, arguments in tools.used] == [0, 1, 2]
    assert view.pending(record.events) == []


async def test_deltas_are_shown_live_and_not_stored(stores: Stores) -> None:
    run = await stores.claimed()
    loop, _ = await begin(stores, run, Scripted(Turn(text="word")), Tools())
    with stores.inbox.watch(f"event:{run.task_id}") as watch:
        await loop.run()
    assert [(event.seq, event.kind, event.data) for event in watch.live] == [
        (0, EventKind.MODEL_DELTA, {"text": "word"})
    ]
    assert EventKind.MODEL_DELTA not in [event.kind for event in await stores.tasks.log(run.task_id)]


def test_a_long_observation_keeps_head_and_tail_and_says_what_was_cut() -> None:
    short = shorten("a" * 500 + "b" * 500, 300)
    assert short.startswith("a" * 200)
    assert short.endswith("b" * 100)
    assert "700 characters cut" in short
    assert shorten("fits", 300) == "fits"
