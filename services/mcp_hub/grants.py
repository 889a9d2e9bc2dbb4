"""Grants: what a caller of the hub may do, as a signed token. Knows no tool."""

from pydantic import SecretStr, ValidationError
from starlette.requests import HTTPConnection

from services.chassis import auth
from services.chassis.errors import ServiceError
from services.wire.base import WorkspaceId
from services.wire.errors import ErrorCode
from services.wire.hub import GRANT_AUDIENCE, Grant

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="moorage-hub"'}


def sign(grant: Grant, secret: SecretStr, *, ttl_s: float) -> str:
    """Return `grant` as a token the hub accepts for `ttl_s` seconds."""
    return auth.sign(grant.model_dump(mode="json"), secret.get_secret_value(), audience=GRANT_AUDIENCE, ttl_s=ttl_s)


def require(connection: HTTPConnection, secret: SecretStr, workspace_id: str) -> Grant:
    """Return the grant of a request for `workspace_id`.

    Raises:
        ServiceError: 401 without a valid grant, 403 with one of another workspace.
    """
    token = auth.bearer(connection)
    if token is None:
        message = "Send 'Authorization: Bearer <grant>'; `moorage mcp WORKSPACE` prints one."
        raise ServiceError(ErrorCode.UNAUTHENTICATED, message, headers=_CHALLENGE)
    grant = read(token, secret)
    if grant.workspace_id != workspace_id:
        message = f"This grant is for {grant.workspace_id}, not for {workspace_id}; use that workspace's endpoint."
        raise ServiceError(ErrorCode.FORBIDDEN, message)
    return grant


def read(token: str, secret: SecretStr) -> Grant:
    """Return the grant a token carries.

    Raises:
        ServiceError: 401 when it is not a valid grant or has expired.
    """
    try:
        return Grant.model_validate(auth.verify(token, secret.get_secret_value(), audience=GRANT_AUDIENCE))
    except ServiceError as error:
        raise ServiceError(error.code, error.message, headers=_CHALLENGE) from error
    except ValidationError as error:
        raise ServiceError(ErrorCode.UNAUTHENTICATED, "The token is no grant.", headers=_CHALLENGE) from error


def parse_workspace(text: str) -> WorkspaceId:
    """Return a path segment as a workspace id.

    Raises:
        ServiceError: 404 when it cannot be one.
    """
    try:
        return Grant(workspace_id=WorkspaceId(text)).workspace_id
    except ValidationError as error:
        raise ServiceError(
            ErrorCode.NOT_FOUND, f"No workspace {text[:60]!r}; ids are ws- and 20 hex digits."
        ) from error
