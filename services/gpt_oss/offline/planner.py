"""From a conversation and the offered tools to the next calls or the answer. The same request gives the same turn.

The recipe of the request's intent is replayed from its start: what the conversation already holds is sent into it,
and the first lookups that are not there yet become the turn's tool calls.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from services.gpt_oss.offline import answers
from services.gpt_oss.offline.ask import prepare
from services.gpt_oss.offline.conversation import Conversation, Past, tools_seen
from services.gpt_oss.offline.intents import Intent
from services.gpt_oss.offline.lookups import Lookup
from services.gpt_oss.offline.recipes import Steps, recipe_for
from services.gpt_oss.offline.results import Observation, observe
from services.gpt_oss.offline.rules import intent_of
from services.gpt_oss.offline.tools import Call, Tool, Toolbox

MAX_CALLS = 8
"""Most tool calls for one request; then the engine answers with what it has."""


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call and the id it is told apart by."""

    id: str
    call: Call


@dataclass(frozen=True, slots=True)
class Turn:
    """What the engine says next: calls, or the answer; `reasoning` names the rule that decided."""

    reasoning: str
    text: str
    calls: tuple[PlannedCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Offer:
    """The tools of a request, and how they may be used."""

    tools: Sequence[Tool] = ()
    may_call: bool = True
    parallel: bool = True


def plan(conversation: Conversation, offer: Offer) -> Turn:
    """Return the next turn."""
    intent = intent_of(prepare(conversation))
    toolbox = Toolbox(offer.tools or tools_seen(conversation))
    replay = _Replay(conversation, toolbox, MAX_CALLS if offer.may_call and offer.tools else 0)
    text, calls = replay.run(recipe_for(intent))
    if not calls:
        return Turn(_reasoning(intent, "answer"), answers.sign(text, earlier=conversation.earlier))
    chosen = calls if offer.parallel else calls[:1]
    names = ", ".join(f"{planned.call.name} {json.dumps(planned.call.arguments)}" for planned in chosen)
    return Turn(_reasoning(intent, f"look up {names}"), "", tuple(chosen))


class _Replay:
    """One run of a recipe against what the conversation holds."""

    def __init__(self, conversation: Conversation, toolbox: Toolbox, limit: int) -> None:
        self.conversation = conversation
        self.toolbox = toolbox
        self.budget = max(limit - len(conversation.past), 0)
        self.unused = list(conversation.past)

    def run(self, steps: Steps) -> tuple[str, list[PlannedCall]]:
        """Return the answer, or the calls that are missing for it."""
        try:
            wanted = next(steps)
            while True:
                seen, calls = self._look(wanted)
                if calls:
                    steps.close()
                    return "", calls
                wanted = steps.send(seen)
        except StopIteration as end:
            return str(end.value), []

    def _look(self, wanted: tuple[Lookup, ...]) -> tuple[tuple[Observation, ...], list[PlannedCall]]:
        seen: list[Observation] = []
        calls: list[PlannedCall] = []
        for lookup in wanted:
            call = self.toolbox.call(lookup)
            past = self._past(call) if call else None
            if call is None:
                seen.append(_unavailable(lookup, self.toolbox))
            elif past is not None and past.result is not None:
                seen.append(observe(lookup, past.result))
            elif past is None and len(calls) < self.budget:
                calls.append(PlannedCall(self._id(call), call))
            else:
                seen.append(Observation(lookup, "no more tool calls are allowed for this request.", ok=False))
        return tuple(seen), calls

    def _past(self, call: Call) -> Past | None:
        """Take the conversation's call that is this one: by its id, or by its name and arguments."""
        wanted = self._id(call)
        for past in self.unused:
            if past.id == wanted or Call(past.name, past.arguments).key == call.key:
                self.unused.remove(past)
                return past
        return None

    def _id(self, call: Call) -> str:
        # With the number of earlier requests, so that the same question asked twice gives two ids.
        text = json.dumps([self.conversation.request, self.conversation.earlier, *call.key])
        return f"call_{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def _unavailable(lookup: Lookup, toolbox: Toolbox) -> Observation:
    count = len(toolbox.tools)
    offered = (
        "no tools were offered with this request" if count == 0 else f"none of the {count} offered tools can do it"
    )
    return Observation(lookup, f"{offered} (it takes one for: {lookup.role.value}).", ok=False)


def _reasoning(intent: Intent, step: str) -> str:
    return f"Rule: {type(intent).__name__}. Next: {step}."
