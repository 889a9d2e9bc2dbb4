"""Server-sent events from bytes cut anywhere, and how long a broken stream is believed in."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.local.cli_errors import CliError, ExitCode, Unreachable
from services.local.cli_settings import Server
from services.local.client import Api
from services.local.follow import Follower, Message, SseParser
from tests.local.conftest import DROP, HOLD, OrchestratorDouble, event

STREAM = (
    "\ufeff: a comment\n\nid: 1\nevent: first\ndata: one\ndata:two\n\n"
    "event: nothing\n\ndata\ndata\n\nid: 2\nretry: 5\nother: x\ndata: ⚓ a: b\n\nid: 3\ndata: never ended"
)
MESSAGES = [Message("1", "first", "one\ntwo"), Message(None, "message", "\n"), Message("2", "message", "⚓ a: b")]


@given(
    ending=st.sampled_from(["\n", "\r\n", "\r"]),
    cuts=st.lists(st.integers(min_value=0, max_value=220), max_size=12),
)
def test_messages_are_the_same_however_the_bytes_are_cut(ending: str, cuts: list[int]) -> None:
    content = STREAM.replace("\n", ending).encode()
    places = [0, *sorted(cuts), len(content)]
    parser = SseParser()
    pieces = [content[start:end] for start, end in pairwise(places)]
    assert [message for piece in pieces for message in parser.feed(piece)] == MESSAGES


def test_a_message_without_end_is_refused() -> None:
    parser = SseParser(limit=1000)
    assert list(parser.feed(b"data: 1\n" * 100)) == []
    with pytest.raises(CliError):
        list(parser.feed(b"data: 1\n" * 100))


@pytest.fixture
def api(orchestrator: OrchestratorDouble) -> Api:
    return Api(Server(orchestrator.url, None, None))


def test_patience_with_a_stream_that_brings_nothing_new_ends(orchestrator: OrchestratorDouble, api: Api) -> None:
    script = orchestrator.will(event(1, "task.queued"), *[DROP] * 100, event(2, "task.finished", status="succeeded"))
    follower = Follower(api, script.id, patience_s=0.5)
    began = time.monotonic()
    events = follower.events()
    assert next(events)["seq"] == 1
    with pytest.raises(Unreachable, match="Gave up after 0 s"):
        next(events)
    assert time.monotonic() - began < 5


def test_a_task_that_is_unknown_is_not_asked_for_twice(orchestrator: OrchestratorDouble, api: Api) -> None:
    with pytest.raises(CliError, match="no such task"):
        list(Follower(api, "0" * 36).events())
    assert len(orchestrator.asked) == 1


def test_a_stream_of_something_else_is_not_tried_again(orchestrator: OrchestratorDouble, api: Api) -> None:
    script = orchestrator.will(b"data: {oops\n\n")
    with pytest.raises(CliError, match="not one of Moorage's") as caught:
        list(Follower(api, script.id).events())
    assert caught.value.exit_code is ExitCode.UNREACHABLE
    assert len(orchestrator.asked) == 1


def test_a_limit_ends_the_waiting_for_a_task_that_goes_on(orchestrator: OrchestratorDouble, api: Api) -> None:
    script = orchestrator.will(event(1, "task.queued"), HOLD)
    began = time.monotonic()
    seen = list(Follower(api, script.id).events(limit_s=0.4))
    script.status = "cancelled"
    assert [heard["seq"] for heard in seen] == [1]
    assert 0.3 < time.monotonic() - began < 5
