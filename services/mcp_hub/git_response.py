"""The gateway's answer as an HTTP response that gives up on a client that takes nothing. Knows no git."""

import asyncio
import contextlib
import logging

from fastapi.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from services.mcp_hub.git_gateway import STALL_S, GitAnswer

logger = logging.getLogger(__name__)


class GitResponse(StreamingResponse):
    """Sends an answer; whatever happens, its git process has ended afterwards."""

    def __init__(self, answer: GitAnswer, *, stall_s: float = STALL_S) -> None:
        super().__init__(answer.chunks, headers={"Content-Type": answer.content_type, "Cache-Control": "no-cache"})
        self._chunks = answer.chunks
        self._stall_s = stall_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; a client that takes nothing is left without the rest, and its connection is closed."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(self._stall_s):
                await send(message)

        async with contextlib.aclosing(self._chunks):
            try:
                await super().__call__(scope, receive, send_in_time)
            except TimeoutError:
                logger.warning("a git client takes nothing", extra={"path": scope["path"]})
