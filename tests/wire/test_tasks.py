"""What a request may say, and that nothing said is changed afterwards."""

from typing import Any

import pytest
from pydantic import ValidationError

from services.wire.base import Reply, Request
from services.wire.errors import STATUS, ErrorCode
from services.wire.tasks import MAX_QUERY, OrchestrateRequest, TaskStatus

ACCEPTED: list[dict[str, Any]] = [
    {"query": "q"},
    {"query": "\n q \n"},
    {"query": "q" * MAX_QUERY},
    {"query": "emoji \U0001f6f6 and \r\n lines"},
    {"query": "q", "repo_url": "x" * 4096, "ref": "r" * 255, "model": "m" * 200},
    {"query": "q", "files": ["f" * 4096] * 100},
    {"query": "q", "max_steps": 1, "timeout_s": 1},
    {"query": "q", "max_steps": 200, "timeout_s": 86_400},
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "query"),
    ({"query": ""}, "query"),
    ({"query": " \t\n\u2003"}, "query"),
    ({"query": "q" * (MAX_QUERY + 1)}, "query"),
    ({"query": "\x00"}, "query"),
    ({"query": "\ud800"}, "query"),
    ({"query": b"\xff"}, "query"),
    ({"query": "q", "repo_url": ""}, "repo_url"),
    ({"query": "q", "repo_url": "x" * 4097}, "repo_url"),
    ({"query": "q", "ref": ""}, "ref"),
    ({"query": "q", "ref": "r" * 256}, "ref"),
    ({"query": "q", "model": ""}, "model"),
    ({"query": "q", "files": ["f"] * 101}, "files"),
    ({"query": "q", "files": ["f" * 4097]}, "files"),
    ({"query": "q", "files": [{"path": "f"}]}, "files"),
    ({"query": "q", "max_steps": 0}, "max_steps"),
    ({"query": "q", "max_steps": 201}, "max_steps"),
    ({"query": "q", "timeout_s": 0}, "timeout_s"),
    ({"query": "q", "timeout_s": 86_401}, "timeout_s"),
    ({"query": "q", "start": "elsewhere"}, "start"),
    ({"query": "q", "deliver": "pull_request"}, "deliver"),
    ({"query": "q", "reasoning_effort": "most"}, "reasoning_effort"),
    ({"query": "q", "repo": "x"}, "repo"),
]


@pytest.mark.parametrize("body", ACCEPTED)
def test_a_request_within_the_limits_survives_the_round_trip(body: dict[str, Any]) -> None:
    request = OrchestrateRequest.model_validate(body)
    assert OrchestrateRequest.model_validate_json(request.model_dump_json()) == request
    assert {name: getattr(request, name) for name in body} == body


@pytest.mark.parametrize(("body", "field"), REFUSED)
def test_a_request_beyond_them_names_the_field(body: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        OrchestrateRequest.model_validate(body)
    assert {error["loc"][0] for error in caught.value.errors()} == {field}


def test_an_accepted_request_cannot_be_changed() -> None:
    request = OrchestrateRequest(query="q")
    with pytest.raises(ValidationError):
        request.query = "other"  # type: ignore[misc]
    assert request.files is not OrchestrateRequest(query="q").files


def test_requests_are_strict_about_names_and_replies_are_not() -> None:
    with pytest.raises(ValidationError):
        Request.model_validate({"new": 1})
    assert Reply.model_validate({"new": 1}) == Reply()


def test_every_error_code_has_a_status() -> None:
    assert set(STATUS) == set(ErrorCode)


def test_the_final_states_are_the_last_three() -> None:
    assert [status for status in TaskStatus if status.final] == list(TaskStatus)[-3:]
