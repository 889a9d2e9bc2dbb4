"""The one shape of an error, and the names of the errors that cross a process. Knows no service."""

from enum import StrEnum
from http import HTTPStatus

from services.wire.base import Reply


class ErrorCode(StrEnum):
    """Why something was refused or failed; clients branch on it, so a value is never renamed."""

    MALFORMED = "malformed"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CONFLICT = "conflict"
    WORKSPACE_BUSY = "workspace_busy"
    STALE_RUN = "stale_run"
    TOO_LARGE = "too_large"
    INVALID_FIELD = "invalid_field"
    TOO_MANY_REQUESTS = "too_many_requests"
    INTERNAL = "internal"
    REPOSITORY_UNREACHABLE = "repository_unreachable"
    REPOSITORY_FORBIDDEN = "repository_forbidden"
    ADDRESS_FORBIDDEN = "address_forbidden"
    REF_NOT_FOUND = "ref_not_found"
    MODEL_UNREACHABLE = "model_unreachable"
    MODEL_NONSENSE = "model_nonsense"
    HUB_UNREACHABLE = "hub_unreachable"
    AGENT_UNREACHABLE = "agent_unreachable"
    DATABASE_UNAVAILABLE = "database_unavailable"
    NOT_READY = "not_ready"
    STEP_LIMIT = "step_limit"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    UNSUPPORTED = "unsupported"


STATUS: dict[ErrorCode, HTTPStatus] = {
    ErrorCode.MALFORMED: HTTPStatus.BAD_REQUEST,
    ErrorCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    ErrorCode.FORBIDDEN: HTTPStatus.FORBIDDEN,
    ErrorCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    ErrorCode.METHOD_NOT_ALLOWED: HTTPStatus.METHOD_NOT_ALLOWED,
    ErrorCode.CONFLICT: HTTPStatus.CONFLICT,
    ErrorCode.WORKSPACE_BUSY: HTTPStatus.CONFLICT,
    ErrorCode.STALE_RUN: HTTPStatus.CONFLICT,
    ErrorCode.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ErrorCode.INVALID_FIELD: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.TOO_MANY_REQUESTS: HTTPStatus.TOO_MANY_REQUESTS,
    ErrorCode.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
    ErrorCode.REPOSITORY_UNREACHABLE: HTTPStatus.BAD_GATEWAY,
    ErrorCode.REPOSITORY_FORBIDDEN: HTTPStatus.BAD_GATEWAY,
    ErrorCode.ADDRESS_FORBIDDEN: HTTPStatus.FORBIDDEN,
    ErrorCode.REF_NOT_FOUND: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.MODEL_UNREACHABLE: HTTPStatus.BAD_GATEWAY,
    ErrorCode.MODEL_NONSENSE: HTTPStatus.BAD_GATEWAY,
    ErrorCode.HUB_UNREACHABLE: HTTPStatus.BAD_GATEWAY,
    ErrorCode.AGENT_UNREACHABLE: HTTPStatus.BAD_GATEWAY,
    ErrorCode.DATABASE_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    ErrorCode.NOT_READY: HTTPStatus.SERVICE_UNAVAILABLE,
    ErrorCode.STEP_LIMIT: HTTPStatus.OK,
    ErrorCode.TIMEOUT: HTTPStatus.GATEWAY_TIMEOUT,
    ErrorCode.CANCELLED: HTTPStatus.OK,
    ErrorCode.UNSUPPORTED: HTTPStatus.UNPROCESSABLE_ENTITY,
}
"""The HTTP status each error is answered with."""


class ErrorInfo(Reply):
    """What happened and what to do next, in words for the caller."""

    code: ErrorCode
    message: str
    request_id: str | None = None


class ErrorBody(Reply):
    """The body of every error answer."""

    error: ErrorInfo
