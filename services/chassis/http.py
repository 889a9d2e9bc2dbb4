"""Calling another service: addresses, clients, and its errors as values of ours. Knows no service's routes."""

from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from services.chassis.errors import ServiceError
from services.wire.errors import ErrorBody, ErrorCode

T = TypeVar("T", bound=BaseModel)

DEFAULT_TIMEOUT = httpx.Timeout(30.0, connect=5.0)


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
) -> T:
    """Make one JSON call and return the typed reply.

    Raises:
        ServiceError: the callee's own error, or `unreachable` naming `who` when it did not answer properly.
    """
    extra: dict[str, Any] = {} if timeout is None else {"timeout": httpx.Timeout(timeout, connect=5.0)}
    content = body.model_dump_json() if body is not None else None
    sent = {"Content-Type": "application/json", **(headers or {})} if content is not None else headers
    try:
        response = await client.request(method, path, content=content, headers=sent, **extra)
    except httpx.TimeoutException as error:
        raise ServiceError(unreachable, f"{who} did not answer {path} in time; try again.") from error
    except httpx.HTTPError as error:
        raise ServiceError(unreachable, f"{who} cannot be reached ({error}); try again.") from error
    if response.is_success:
        return parse(reply, response, unreachable, who)
    raise remote_error(response, unreachable, who)


def parse(reply: type[T], response: httpx.Response, unreachable: ErrorCode, who: str) -> T:
    """Return the body as `reply`, an empty one as a reply without fields; or raise `unreachable`."""
    try:
        return reply.model_validate_json(response.content or b"{}")
    except ValidationError as error:
        raise ServiceError(unreachable, f"{who} answered {response.url.path} with something else.") from error


def remote_error(response: httpx.Response, unreachable: ErrorCode, who: str) -> ServiceError:
    """Return the error another service answered with, as data."""
    try:
        info = ErrorBody.model_validate_json(response.content).error
    except ValidationError:
        return ServiceError(unreachable, f"{who} answered {response.status_code} to {response.url.path}.")
    return ServiceError(info.code, info.message)
