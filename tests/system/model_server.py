"""A model endpoint over real HTTP whose turns a test writes: Chat Completions, streamed."""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

Step = str | list[tuple[str, dict[str, Any]]] | Callable[[], Response]
"""A final answer, tool calls, or any other response."""


class ModelServer:
    """Answers each request with the next step of the script."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.requests: list[dict[str, Any]] = []
        self.hold: threading.Event | None = None
        self.asked = threading.Event()
        self.url = ""

    def script(self, *steps: Step) -> None:
        """Say what comes next, and forget what was asked."""
        self.steps = list(steps)
        self.requests.clear()
        self.hold = None
        self.asked.clear()

    @contextlib.contextmanager
    def serving(self) -> Iterator["ModelServer"]:
        """Serve in a thread while the block runs."""
        routes = [Route("/v1/models", self._models), Route("/v1/chat/completions", self._complete, methods=["POST"])]
        config = uvicorn.Config(Starlette(routes=routes), log_level="critical", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            try:
                yield self
            finally:
                server.should_exit = True
                thread.join(timeout=10)

    async def _models(self, _: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": "scripted-model", "object": "model"}]})

    async def _complete(self, request: Request) -> Response:
        self.requests.append(await request.json())
        self.asked.set()
        if self.hold is not None:
            await asyncio.to_thread(self.hold.wait, 30)
        step = self.steps.pop(0) if self.steps else "The script has ended."
        if callable(step):
            return step()
        return StreamingResponse(_stream(step, len(self.requests)), media_type="text/event-stream")


async def _stream(step: str | list[tuple[str, dict[str, Any]]], number: int) -> AsyncIterator[str]:
    if isinstance(step, str):
        yield _chunk({"role": "assistant", "content": step})
        yield _chunk({}, "stop")
    else:
        for index, (name, arguments) in enumerate(step):
            function = {"name": name, "arguments": json.dumps(arguments)}
            call = {"index": index, "id": f"call_{number}_{index}", "type": "function", "function": function}
            yield _chunk({"tool_calls": [call]})
        yield _chunk({}, "tool_calls")
    yield "data: [DONE]\n\n"


def _chunk(delta: dict[str, Any], finish: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12} if finish else None
    body = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "scripted-model", "choices": [choice]}
    return f"data: {json.dumps({**body, 'usage': usage})}\n\n"
