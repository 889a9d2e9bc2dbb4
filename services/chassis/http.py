"""Calling another service: addresses, clients, and its errors as values of ours. Knows no service's routes."""

import asyncio
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from services.chassis.errors import ServiceError
from services.wire.errors import ErrorBody, ErrorCode

T = TypeVar("T", bound=BaseModel)

DEFAULT_TIMEOUT = httpx.Timeout(30.0, connect=5.0)

REPLY_BYTES = 8 * 1024 * 1024
"""Most a reply may hold, unless a call says otherwise."""


def connect(
    address: str,
    *,
    token: str | None = None,
    timeout: httpx.Timeout = DEFAULT_TIMEOUT,
    connections: int = 100,
    foreign: bool = False,
) -> httpx.AsyncClient:
    """Return a client for `unix:/path` or `http(s)://host`, with a bearer token if given.

    The environment's proxies and certificates are used only for a `foreign` address, one that is not ours.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=min(connections, 20))
    if address.startswith("unix:"):
        transport = httpx.AsyncHTTPTransport(uds=address.removeprefix("unix:"), limits=limits, trust_env=False)
        return httpx.AsyncClient(base_url="http://localhost", transport=transport, headers=headers, timeout=timeout)
    return httpx.AsyncClient(base_url=address, limits=limits, headers=headers, timeout=timeout, trust_env=foreign)


async def call(
    client: httpx.AsyncClient,
    method: str,
    path: str,
    reply: type[T],
    *,
    body: BaseModel | None = None,
    headers: dict[str, str] | None = None,
    timeout: float | None = None,
    unreachable: ErrorCode,
    who: str,
    limit: int = REPLY_BYTES,
) -> T:
    """Make one JSON call and return the typed reply. `timeout` bounds the whole call, in seconds; `limit` the reply.

    Raises:
        ServiceError: the callee's own error, or `unreachable` naming `who` when it did not answer properly.
    """
    seconds = timeout if timeout is not None else client.timeout.read
    content = body.model_dump_json() if body is not None else None
    # Whoever answers may be hostile: what is small on the wire must not be large here.
    sent = {"Accept-Encoding": "identity", "Content-Type": "application/json", **(headers or {})}
    try:
        async with (
            asyncio.timeout(seconds),
            client.stream(method, path, content=content, headers=sent, timeout=seconds) as response,
        ):
            answer = await _read(response, limit)
    except (httpx.TimeoutException, TimeoutError) as error:
        raise ServiceError(unreachable, f"{who} did not answer {path} in time; try again.") from error
    except httpx.HTTPError as error:
        raise ServiceError(
            unreachable, f"{who} cannot be reached ({str(error) or type(error).__name__}); try again."
        ) from error
    if answer is None:
        raise ServiceError(unreachable, f"{who} answered {path} with more than {limit:,} bytes, or encoded.")
    if response.is_success:
        return parse(reply, answer, path, unreachable, who)
    raise remote_error(response.status_code, answer, path, unreachable, who)


async def _read(response: httpx.Response, limit: int) -> bytes | None:
    """Return a body as it came, or None when it is too long or not plain."""
    if response.headers.get("content-encoding", "identity") != "identity":
        return None
    answer = bytearray()
    async for chunk in response.aiter_raw():
        answer += chunk
        if len(answer) > limit:
            return None
    return bytes(answer)


def parse(reply: type[T], answer: bytes, path: str, unreachable: ErrorCode, who: str) -> T:
    """Return the body as `reply`, an empty one as a reply without fields; or raise `unreachable`."""
    try:
        return reply.model_validate_json(answer or b"{}")
    except ValidationError as error:
        raise ServiceError(unreachable, f"{who} answered {path} with something else.") from error


def remote_error(status: int, answer: bytes, path: str, unreachable: ErrorCode, who: str) -> ServiceError:
    """Return the error another service answered with, as data."""
    try:
        info = ErrorBody.model_validate_json(answer).error
    except ValidationError:
        return ServiceError(unreachable, f"{who} answered {status} to {path}.")
    return ServiceError(info.code, info.message)
