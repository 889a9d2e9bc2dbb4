"""How a service's ASGI app is built and served. Knows no route."""

import asyncio
import contextlib
import logging
import re
import signal
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.chassis import logs
from services.chassis.errors import ServiceError, error_response, install_handlers
from services.chassis.settings import ServiceSettings
from services.wire.errors import ErrorCode

logger = logging.getLogger(__name__)

VERSION = version("moorage")

Lifespan = Callable[[FastAPI], contextlib.AbstractAsyncContextManager[Mapping[str, Any]]]
"""Builds what the routes need and yields it by name; routes read it from `request.state`."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class RequestIds:
    """ASGI middleware: every request has an id, the caller's if it sent a sane one, answered in `X-Request-Id`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request with its id set for logs and errors."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"")
        current = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex.encode()
        token = logs.request_id.set(current.decode())

        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                own = ((b"x-request-id", current), (b"x-content-type-options", b"nosniff"))
                message["headers"] = [*message.get("headers", []), *own]
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except asyncio.CancelledError:  # the service ends, and has waited as long as it does
            if not started:
                message = "The service is being stopped; ask again shortly. What was accepted is not lost."
                gone = ServiceError(ErrorCode.NOT_READY, message, headers={"Retry-After": "2"})
                await error_response(gone)(scope, receive, send_with_id)
            raise
        # Not after an exception: what renders it is outside of this middleware, and names the id.
        logs.request_id.reset(token)


class BodyLimit:
    """ASGI middleware: a body above the limit is refused with 413, declared or not, before it is parsed."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, counting its body."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        error = ServiceError(ErrorCode.TOO_LARGE, f"The body is larger than {self.limit:,} bytes; send less.")
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self.limit:
            await error_response(error)(scope, receive, send)
            return
        seen = 0
        started = False

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.limit:
                raise error
            return message

        async def unless_over(message: Message) -> None:
            nonlocal started
            # The framework turns any failure to read a body into its own 400; ours is said below.
            if seen <= self.limit:
                started = True
                await send(message)

        try:
            await self.app(scope, counted, unless_over)
        except ServiceError as raised:
            if raised is not error:
                raise
        if seen > self.limit and not started:
            await error_response(error)(scope, receive, send)


def create_app(
    name: str,
    lifespan: Lifespan,
    routers: Sequence[APIRouter],
    *,
    body_limit: int = 4 * 1024 * 1024,
) -> FastAPI:
    """Build a service's app: its routes, error bodies, request ids and body limit (bytes)."""

    @contextlib.asynccontextmanager
    async def run(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        started = False
        try:
            async with lifespan(app) as state:
                started = True
                yield state
        except Exception:
            if started:
                # A background loop died. Half alive, the process would go on listening and only refuse; whoever runs
                # it starts it again.
                logger.exception("the service failed while it ran; ending")
                signal.raise_signal(signal.SIGTERM)
            raise

    app = FastAPI(title=name, version=VERSION, lifespan=run, docs_url=None, redoc_url=None)
    for router in routers:
        app.include_router(router)
    install_handlers(app)
    app.add_middleware(BodyLimit, limit=body_limit)
    app.add_middleware(RequestIds)
    return app


def serve(app: ASGIApp, settings: ServiceSettings) -> None:
    """Serve `app` until SIGTERM or SIGINT; streams still open after 5 seconds are cut."""
    logs.configure(settings.log_level)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        uds=str(settings.uds) if settings.uds else None,
        fd=settings.fd,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
        # Who the peer is decides what it may: not what a header says.
        proxy_headers=False,
        lifespan="on",
    )
    # uvicorn takes every inherited descriptor for a Unix socket; ours may be TCP, whose peers auth looks at.
    sockets = [socket.socket(fileno=settings.fd)] if settings.fd is not None else None
    uvicorn.Server(config).run(sockets=sockets)
