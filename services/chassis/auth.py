"""Who may call: shared secrets, signed tokens, and the loopback rule. Knows no principal and no resource."""

import hmac
import ipaddress
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import jwt
from starlette.requests import HTTPConnection

from services.chassis.errors import ServiceError
from services.chassis.peers import Address, is_ours
from services.wire.errors import ErrorCode

_ALGORITHM = "HS256"


def sign(claims: Mapping[str, Any], key: str, *, audience: str, ttl_s: float) -> str:
    """Return `claims` as a token that `verify` accepts for `ttl_s` seconds."""
    now = time.time()
    return jwt.encode({**claims, "aud": audience, "iat": int(now), "exp": int(now + ttl_s)}, key, algorithm=_ALGORITHM)


def verify(token: str, key: str, *, audience: str) -> dict[str, Any]:
    """Return the claims of a token signed with `key` for `audience`.

    Raises:
        ServiceError: 401 when it is not such a token or has expired.
    """
    try:
        return jwt.decode(token, key, algorithms=[_ALGORITHM], audience=audience, options={"require": ["exp"]})
    except jwt.ExpiredSignatureError as error:
        raise ServiceError(ErrorCode.UNAUTHENTICATED, "The token has expired; ask for a new one.") from error
    except jwt.PyJWTError as error:
        raise ServiceError(ErrorCode.UNAUTHENTICATED, "The token is not valid here.") from error


def bearer(connection: HTTPConnection) -> str | None:
    """Return the bearer token of a request, if it has one."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def require_secret(connection: HTTPConnection, secret: str) -> None:
    """Let a request pass only with `secret` as its bearer token.

    Raises:
        ServiceError: 401.
    """
    given = bearer(connection)
    if given is None or not hmac.compare_digest(given.encode(), secret.encode()):
        raise ServiceError(ErrorCode.UNAUTHENTICATED, "Send 'Authorization: Bearer <token>' with this home's token.")


def is_loopback(host: str) -> bool:
    """Whether a host name or address, without port, is this machine's loopback."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def from_own_loopback(connection: HTTPConnection, ours: Callable[[Address, Address], bool] = is_ours) -> bool:
    """Whether a request came over loopback, for a loopback host, from our own account and no page of another site."""
    peer, here = connection.client, connection.scope.get("server")
    host = connection.headers.get("host", "")
    origin = connection.headers.get("origin")
    try:
        name = urlsplit(f"//{host}").hostname or ""
        own_origin = origin is None or urlsplit(origin).netloc == host
    except ValueError:  # as of an address whose bracket is not closed
        return False
    own_site = connection.headers.get("sec-fetch-site", "none") in ("none", "same-origin")
    if peer is None or here is None or not (is_loopback(peer.host) and is_loopback(name) and own_origin and own_site):
        return False
    return ours((peer.host, peer.port), (here[0], here[1]))
