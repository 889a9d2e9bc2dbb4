"""Every service's app: request ids, the body limit, and errors in one shape whatever went wrong."""

import contextlib
import json
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request
from pydantic import BaseModel, ConfigDict

from services.chassis.app import create_app
from services.chassis.errors import ServiceError
from services.chassis.logs import request_id
from services.wire.errors import STATUS, ErrorBody, ErrorCode
from tests.servers import serving

LIMIT = 1000


class Wanted(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    count: int = 1


def routes() -> APIRouter:
    router = APIRouter()

    @router.post("/echo")
    async def echo(body: Wanted) -> Wanted:
        return body

    @router.post("/raw")
    async def raw(request: Request) -> dict[str, Any]:
        return {"bytes": len(await request.body()), "id": request_id.get()}

    @router.get("/list")
    async def listed(limit: int = 1) -> int:
        return limit

    @router.get("/fail/{code}")
    async def fail(code: ErrorCode) -> None:
        raise ServiceError(code, "Do this next.", headers={"Retry-After": "2"})

    @router.get("/break")
    async def broken() -> None:
        raise ZeroDivisionError("the reason")

    return router


@contextlib.asynccontextmanager
async def nothing(_: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
    yield {}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = create_app("test", nothing, [routes()], body_limit=LIMIT)
    async with serving(app, lifespan="on") as served, httpx.AsyncClient(base_url=served.url, timeout=10) as http:
        yield http


def error_of(answer: httpx.Response) -> tuple[int, str, str]:
    """Status, code and message of an error, which must name the request."""
    error = ErrorBody.model_validate_json(answer.content).error
    assert error.request_id == answer.headers["x-request-id"]
    return answer.status_code, error.code, error.message


async def test_a_sane_request_id_is_kept_and_any_other_replaced(client: httpx.AsyncClient) -> None:
    kept = await client.post("/raw", headers={"X-Request-Id": "a.b-c_1"})
    assert kept.json()["id"] == kept.headers["x-request-id"] == "a.b-c_1"
    for given in ("", "a b", "a" * 65, "<script>", "ü"):
        answer = await client.post("/raw", headers=[(b"X-Request-Id", given.encode("latin-1"))])
        assert answer.headers["x-request-id"] == answer.json()["id"] != given


async def test_two_requests_have_two_ids(client: httpx.AsyncClient) -> None:
    assert (await client.post("/raw")).json()["id"] != (await client.post("/raw")).json()["id"]


@pytest.mark.parametrize("code", list(ErrorCode))
async def test_every_code_leaves_with_its_status_and_headers(client: httpx.AsyncClient, code: ErrorCode) -> None:
    answer = await client.get(f"/fail/{code}")
    assert error_of(answer) == (STATUS[code], code, "Do this next.")
    assert answer.headers["retry-after"] == "2"


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b'{"name": "n", "nmae": "n"}', 422, "Unknown field 'nmae'; remove it or correct its name."),
        (b'{"count": "x", "other": 1}', 422, "Field 'name': field required. (2 more)"),
        (b'{"name": "n", "count": "x"}', 422, "Field 'count': input should be a valid integer, unable to parse string"),
        (b"[]", 422, "The body must be a JSON object; send it with Content-Type: application/json."),
        (b"", 422, "The body must be a JSON object; send it with Content-Type: application/json."),
        (b"{", 400, "The body is not JSON: Expecting property name"),
        (b'{"name": "\xff"}', 400, "The body is not JSON in UTF-8; correct it and send it again."),
        (b"[" * 999, 400, "The body is not JSON"),
        (b'{"count": ' + b"9" * 900 + b"}", 422, "Field 'name'"),
    ],
)
async def test_a_wrong_body_is_told_what_is_wrong(
    client: httpx.AsyncClient, body: bytes, status: int, message: str
) -> None:
    answer = await client.post("/echo", content=body, headers={"Content-Type": "application/json"})
    code = "malformed" if status == 400 else "invalid_field"
    assert error_of(answer)[:2] == (status, code)
    assert error_of(answer)[2].startswith(message)


async def test_a_body_of_another_type_is_told_which_to_send(client: httpx.AsyncClient) -> None:
    answer = await client.post("/echo", content=b'{"name": "n"}', headers={"Content-Type": "text/plain"})
    assert error_of(answer)[0] == 422
    assert "Content-Type: application/json" in error_of(answer)[2]


async def test_a_wrong_parameter_is_named_without_where_it_was(client: httpx.AsyncClient) -> None:
    assert error_of(await client.get("/list?limit=x"))[2].startswith("Field 'limit': ")


async def test_unknown_routes_and_methods_are_errors_like_all_others(client: httpx.AsyncClient) -> None:
    assert error_of(await client.get("/nowhere")) == (404, "not_found", "No route /nowhere; see /docs.")
    wrong = await client.delete("/list")
    assert error_of(wrong) == (405, "method_not_allowed", "Method Not Allowed")
    assert wrong.headers["allow"] == "GET"
    head = await client.head("/nowhere")
    assert (head.status_code, head.content) == (404, b"")


async def test_an_unexpected_exception_is_named_by_the_same_id_in_answer_and_log(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str | None] = []
    logger = logging.getLogger("services.chassis.errors")

    def watch(_: logging.LogRecord) -> bool:
        seen.append(request_id.get())
        return True

    logger.addFilter(watch)
    try:
        answer = await client.get("/break", headers={"X-Request-Id": "mine"})
    finally:
        logger.removeFilter(watch)
    status, code, message = error_of(answer)
    assert (status, code, answer.headers["x-request-id"], seen) == (500, "internal", "mine", ["mine"])
    assert "request id" in message
    assert "reason" not in answer.text
    assert caplog.records[0].exc_info is not None
    assert (await client.post("/raw")).json()["id"] != "mine"


async def test_a_body_up_to_the_limit_passes_and_one_byte_more_does_not(client: httpx.AsyncClient) -> None:
    def pieces(size: int) -> AsyncIterator[bytes]:
        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, size, 100):
                yield b"x" * min(100, size - start)

        return chunks()

    for body in (b"x" * LIMIT, pieces(LIMIT)):
        assert (await client.post("/raw", content=body)).json()["bytes"] == LIMIT
    for body in (b"x" * (LIMIT + 1), pieces(LIMIT + 1)):
        expected = (413, "too_large", "The body is larger than 1,000 bytes; send less.")
        assert error_of(await client.post("/raw", content=body)) == expected
        assert (await client.post("/raw", content=b"x")).json()["bytes"] == 1


async def test_a_large_body_that_would_be_parsed_is_refused_before_that(client: httpx.AsyncClient) -> None:
    body = iter([b'{"name": "' + b"x" * LIMIT + b'"}'])

    async def chunks() -> AsyncIterator[bytes]:
        for chunk in body:
            yield chunk

    headers = {"Content-Type": "application/json"}
    assert error_of(await client.post("/echo", content=chunks(), headers=headers))[:2] == (413, "too_large")


@pytest.fixture
def records() -> Iterator[list[dict[str, Any]]]:
    """Lines as the JSON formatter writes them."""
    from services.chassis.logs import JsonFormatter

    lines: list[dict[str, Any]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            line = JsonFormatter().format(record)
            assert "\n" not in line
            lines.append(json.loads(line))

    handler = Keep()
    logger = logging.getLogger("services.test")
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def test_a_log_line_is_json_with_its_extras_its_exception_and_the_request(records: list[dict[str, Any]]) -> None:
    logger = logging.getLogger("services.test")
    token = request_id.set("r1")
    try:
        raise ValueError("bad\nthing")
    except ValueError:
        logger.exception("it %s", "failed", extra={"task_id": "t", "odd": object, "text": "a\nb\ud800"})
    finally:
        request_id.reset(token)
    logger.warning("plain")
    first, second = records
    assert (first["severity"], first["logger"], first["message"]) == ("ERROR", "services.test", "it failed")
    assert (first["request_id"], first["task_id"], first["odd"]) == ("r1", "t", "<class 'object'>")
    assert "ValueError: bad\nthing" in first["exception"]
    assert set(second) == {"time", "severity", "logger", "message"}
