"""Errors that leave a service, and how they are rendered. Knows no route."""

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from services.chassis.logs import request_id
from services.wire.errors import STATUS, ErrorBody, ErrorCode, ErrorInfo

logger = logging.getLogger(__name__)


class ServiceError(Exception):
    """Something the caller is told: a code, and a message that says what to do next."""

    def __init__(self, code: ErrorCode, message: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.headers = headers or {}

    def info(self) -> ErrorInfo:
        """Return the error as it travels."""
        return ErrorInfo(code=self.code, message=self.message, request_id=request_id.get())


_HTTP_CODES: dict[int, ErrorCode] = {
    401: ErrorCode.UNAUTHENTICATED,
    403: ErrorCode.FORBIDDEN,
    404: ErrorCode.NOT_FOUND,
    405: ErrorCode.METHOD_NOT_ALLOWED,
    409: ErrorCode.CONFLICT,
    413: ErrorCode.TOO_LARGE,
    422: ErrorCode.INVALID_FIELD,
    429: ErrorCode.TOO_MANY_REQUESTS,
}


def error_response(error: ServiceError) -> JSONResponse:
    """Render an error with the status of its code."""
    body = ErrorBody(error=error.info()).model_dump(mode="json")
    return JSONResponse(body, status_code=STATUS[error.code], headers=error.headers)


def describe_validation(errors: Sequence[Any]) -> ServiceError:
    """Turn pydantic's list into one sentence that names the first wrong field and counts the others."""
    first = errors[0]
    # It begins with where the field was: body, query, path or header.
    place = ".".join(str(part) for part in first["loc"][1:])
    if first["type"] == "json_invalid":
        return ServiceError(ErrorCode.MALFORMED, f"The body is not JSON: {first['ctx']['error']}.")
    if first["type"] == "extra_forbidden":
        text = f"Unknown field {place!r}; remove it or correct its name."
    elif not place:
        text = "The body must be a JSON object; send it with Content-Type: application/json."
    else:
        text = f"Field {place!r}: {first['msg'][0].lower()}{first['msg'][1:]}."
    more = f" ({len(errors) - 1} more)" if len(errors) > 1 else ""
    return ServiceError(ErrorCode.INVALID_FIELD, text + more)


def install_handlers(app: FastAPI) -> None:
    """Make every error of `app` leave as an `ErrorBody`."""

    async def service_error(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ServiceError)
        return error_response(error)

    async def validation_error(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return error_response(describe_validation(error.errors()))

    async def http_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        code = _HTTP_CODES.get(error.status_code, ErrorCode.MALFORMED)
        message = str(error.detail)
        if isinstance(error.__cause__, ValueError | RecursionError):  # what the framework says of a body it cannot read
            message = "The body is not JSON in UTF-8; correct it and send it again."
        if code is ErrorCode.NOT_FOUND and message == "Not Found":
            message = f"No route {request.url.path}; see /docs."
        body = ErrorBody(error=ErrorInfo(code=code, message=message, request_id=request_id.get()))
        return JSONResponse(body.model_dump(mode="json"), status_code=error.status_code, headers=error.headers)

    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        logger.error("request failed", extra={"path": request.url.path}, exc_info=error)
        message = "An internal error; the service's log has it under this request id."
        # Rendered outside of the middleware that adds the header to every other answer.
        headers = {"X-Request-Id": current} if (current := request_id.get()) else None
        return error_response(ServiceError(ErrorCode.INTERNAL, message, headers=headers))

    app.add_exception_handler(ServiceError, service_error)
    app.add_exception_handler(RequestValidationError, validation_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, unexpected)
