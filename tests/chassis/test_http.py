"""Calling another service: its reply typed, its errors as data, its absence named."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from services.chassis.errors import ServiceError, error_response
from services.chassis.http import call, connect
from services.wire.base import Reply
from services.wire.base import Request as Body
from services.wire.errors import ErrorCode
from tests.servers import serving

Handler = Callable[[Request], Awaitable[Response]]


class Told(Reply):
    name: str = ""


class Sent(Body):
    name: str


async def echo(request: Request) -> Response:
    assert request.headers["content-type"] == "application/json"
    return JSONResponse({**await request.json(), "unknown": 1})


async def empty(_: Request) -> Response:
    return Response(status_code=204)


async def no_json(_: Request) -> Response:
    return Response("<html>")


async def wrong(_: Request) -> Response:
    return JSONResponse({"name": ["list"]})


async def own_error(_: Request) -> Response:
    return error_response(ServiceError(ErrorCode.REF_NOT_FOUND, "No such ref; name another."))


async def foreign_error(_: Request) -> Response:
    return Response("<h1>Bad gateway</h1>", status_code=502)


async def invented_code(_: Request) -> Response:
    return JSONResponse({"error": {"code": "new_in_2030", "message": "?"}}, status_code=409)


async def slow(request: Request) -> Response:
    while not await request.is_disconnected():
        await asyncio.sleep(0.01)
    return Response()


async def whoami(request: Request) -> Response:
    return JSONResponse({"name": request.headers.get("authorization", "")})


HANDLERS: list[Handler] = [echo, empty, no_json, wrong, own_error, foreign_error, invented_code, slow, whoami]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    methods = ["GET", "POST"]
    app = Starlette(routes=[Route(f"/{handler.__name__}", handler, methods=methods) for handler in HANDLERS])
    async with serving(app) as served, connect(served.url, token="t0ken") as client:
        yield client


async def ask(client: httpx.AsyncClient, path: str, *, body: Body | None = None, timeout: float | None = None) -> Told:
    """Call a handler."""
    return await call(
        client, "POST", path, Told, body=body, timeout=timeout, unreachable=ErrorCode.HUB_UNREACHABLE, who="The hub"
    )


async def test_a_body_goes_out_as_json_and_comes_back_typed(client: httpx.AsyncClient) -> None:
    assert (await ask(client, "/echo", body=Sent(name="ü"))).name == "ü"
    assert await ask(client, "/empty") == Told()
    assert (await ask(client, "/whoami")).name == "Bearer t0ken"


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("/no_json", "hub_unreachable", "The hub answered /no_json with something else."),
        ("/wrong", "hub_unreachable", "The hub answered /wrong with something else."),
        ("/own_error", "ref_not_found", "No such ref; name another."),
        ("/foreign_error", "hub_unreachable", "The hub answered 502 to /foreign_error."),
        ("/invented_code", "hub_unreachable", "The hub answered 409 to /invented_code."),
    ],
)
async def test_what_the_other_one_answers_badly_is_an_error_of_ours(
    client: httpx.AsyncClient, path: str, code: str, message: str
) -> None:
    with pytest.raises(ServiceError) as caught:
        await ask(client, path)
    assert (caught.value.code, caught.value.message) == (code, message)


async def test_a_service_that_does_not_answer_in_time_is_named(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(5):
        with pytest.raises(ServiceError, match="The hub did not answer /slow in time; try again"):
            await ask(client, "/slow", timeout=0.1)


async def test_a_service_that_is_not_there_is_named(tmp_path: Path) -> None:
    for address in (f"unix:{tmp_path}/none.sock", "http://127.0.0.1:1"):
        async with connect(address) as client:
            with pytest.raises(ServiceError, match="The hub cannot be reached") as caught:
                await ask(client, "/echo")
            assert caught.value.code == "hub_unreachable"


async def test_our_own_addresses_ignore_the_environments_proxy(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with connect(str(client.base_url), token="t0ken") as ours:
        assert (await ask(ours, "/whoami")).name == "Bearer t0ken"
    async with connect(str(client.base_url), foreign=True) as foreign:
        with pytest.raises(ServiceError, match="cannot be reached"):
            await ask(foreign, "/whoami")


async def _gzipped(_: Request) -> Response:
    return Response(gzip.compress(b'{"text": "' + b"x" * 1_000_000 + b'"}'), headers={"Content-Encoding": "gzip"})


async def _large(_: Request) -> Response:
    return Response(b'{"text": "' + b"x" * 200_000 + b'"}')


async def _dripping(_: Request) -> Response:
    async def drip() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.05)

    return StreamingResponse(drip())


@pytest.mark.parametrize(
    ("answer", "said"),
    [(_gzipped, "more than 100,000 bytes, or encoded"), (_large, "more than 100,000"), (_dripping, "in time")],
)
async def test_a_hostile_reply_is_refused_before_it_costs_much(
    answer: Callable[[Request], Awaitable[Response]], said: str
) -> None:
    app = Starlette(routes=[Route("/x", answer)])
    async with serving(app) as server, connect(server.url) as client, asyncio.timeout(10):
        with pytest.raises(ServiceError, match=said) as refused:
            await call(
                client, "GET", "/x", Told, timeout=1.0, limit=100_000, unreachable=ErrorCode.AGENT_UNREACHABLE, who="It"
            )
    assert refused.value.code is ErrorCode.AGENT_UNREACHABLE
