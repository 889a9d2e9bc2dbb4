"""Errors in OpenAI's shape, which its clients know how to read. Knows no rule."""

import json
import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.chassis.errors import describe_validation

logger = logging.getLogger(__name__)


class ApiError(Exception):
    """Something the caller is told: status, message, and where OpenAI names them the parameter and the code."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code


def render(error: ApiError) -> JSONResponse:
    """Return the error as OpenAI's API would."""
    return JSONResponse(_body(error), status_code=error.status)


def install_openai_handlers(app: FastAPI) -> None:
    """Make every error of `app` leave in OpenAI's shape, those of the chassis's middleware included."""

    async def api_error(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ApiError)
        return render(error)

    async def validation_error(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        place = [str(part) for part in error.errors()[0]["loc"] if part != "body"]
        param = place[0] if place and not place[0].isdigit() else None
        return render(ApiError(400, describe_validation(error.errors()).message, param=param))

    async def http_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        plain = {404: f"No route {request.url.path}; this engine serves /v1/chat/completions and /v1/models."}
        return render(ApiError(error.status_code, plain.get(error.status_code, str(error.detail))))

    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        logger.error("request failed", extra={"path": request.url.path}, exc_info=error)
        return render(ApiError(500, "An internal error; the service's log has it.", code="internal_error"))

    app.add_exception_handler(ApiError, api_error)
    app.add_exception_handler(RequestValidationError, validation_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, unexpected)
    app.add_middleware(TooLargeInOpenAIShape)


class TooLargeInOpenAIShape:
    """ASGI middleware: the chassis's refusal of a large body, said in OpenAI's shape."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; only an answer of 413 is rewritten."""
        start: Message | None = None

        async def rewritten(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and message["status"] == 413:
                start = message
            elif start is None:
                await send(message)
            else:
                said = json.loads(message["body"])["error"]["message"]
                body = json.dumps(_body(ApiError(413, said, code="too_large"))).encode()
                MutableHeaders(raw=start["headers"])["content-length"] = str(len(body))
                await send(start)
                await send({"type": "http.response.body", "body": body})

        await self.app(scope, receive, rewritten)


def _body(error: ApiError) -> dict[str, object]:
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}
