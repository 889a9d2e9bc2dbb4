"""The read-only git face of the mirrors: smart HTTP over `git upload-pack`. Knows no caller and no upstream."""

import asyncio
import contextlib
import re
import tempfile
import time
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, replace
from typing import IO, Final
from weakref import WeakValueDictionary

from services.chassis.errors import ServiceError
from services.mcp_hub.audit import Audit
from services.mcp_hub.git_errors import own_words
from services.mcp_hub.git_process import Git, read_at_most
from services.mcp_hub.mirror import Mirrors
from services.wire.base import WorkspaceId
from services.wire.errors import ErrorCode

_UPLOAD: Final = "git-upload-pack"
_PROTOCOL: Final = re.compile(r"[a-z0-9=:]{1,64}")
_BODY_LIMIT: Final = 8 * 1024 * 1024
_CHUNK: Final = 64 * 1024
STALL_S: Final = 30.0
"""Seconds in which a client must take some of the answer; one that takes nothing is dropped."""

_PARALLEL: Final = 64
_PARALLEL_OF_ONE: Final = 4
"""Requests of one workspace served at once: what its sandbox keeps waiting is then only itself."""

_READ_ONLY: Final = (
    "This face of the repository is read-only: nothing can be pushed to it. "
    "Changes of the work tree are delivered by the task itself."
)


@dataclass(frozen=True, slots=True)
class GitCall:
    """One request of a git client, whatever carried it; `body` is as it came, perhaps compressed."""

    method: str
    path: str
    service: str | None
    protocol: str
    encoding: str
    body: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class GitAnswer:
    """What the client is sent; `chunks` streams and ends with its git process."""

    content_type: str
    chunks: AsyncGenerator[bytes, None]


class GitGateway:
    """Serves fetches from the mirrors, each within `timeout_s`, and its request within `body_timeout_s`."""

    def __init__(
        self, mirrors: Mirrors, git: Git, audit: Audit, *, timeout_s: float, body_timeout_s: float = 30.0
    ) -> None:
        self._mirrors = mirrors
        self._git = git
        self._audit = audit
        self._timeout_s = timeout_s
        self._body_timeout_s = body_timeout_s
        self._slots = asyncio.Semaphore(_PARALLEL)
        self._slots_of_one: WeakValueDictionary[WorkspaceId, asyncio.Semaphore] = WeakValueDictionary()

    async def answer(self, workspace_id: WorkspaceId, call: GitCall) -> GitAnswer:
        """Answer `info/refs` or `git-upload-pack` of a workspace's mirror.

        Raises:
            ServiceError: 403 for a push, 404 for anything else that is not there, 413 or 504 for a request that is
                too large or too slow.
        """
        service = _wanted(call)
        if not _PROTOCOL.fullmatch(call.protocol):
            call = replace(call, protocol="")
        mirror = self._mirrors.path(workspace_id)
        if not await asyncio.to_thread((mirror / "HEAD").exists):
            raise ServiceError(ErrorCode.NOT_FOUND, f"There is no mirror of {workspace_id} yet; start a task first.")
        advertise = service == "advertisement"
        options = ("--http-backend-info-refs",) if advertise else ()
        preface = advertise and "version=2" not in call.protocol.split(":")
        prefix = b"001e# service=git-upload-pack\n0000" if preface else b""
        command = ("upload-pack", "--stateless-rpc", "--strict", "--timeout=60", *options, str(mirror))
        streamed = self._stream(workspace_id, call, command, prefix)
        # The first chunk is waited for here, so that a failure can still be an error answer.
        first = await anext(streamed, b"")
        return GitAnswer(f"application/x-{_UPLOAD}-{service}", _rejoined(first, streamed))

    async def _stream(
        self, workspace_id: WorkspaceId, call: GitCall, command: tuple[str, ...], prefix: bytes
    ) -> AsyncGenerator[bytes, None]:
        began = time.perf_counter()
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        sent = 0
        complete = False
        # The mirror is ours: no configuration of the user's may change how it is served.
        env = {"GIT_PROTOCOL": call.protocol, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
        try:
            async with (
                self._slot(workspace_id, deadline),
                self._spooled(call) as body,
                self._git.spawn(command, env=env, stdin=body) as process,
            ):
                assert process.stdout is not None
                assert process.stderr is not None
                while chunk := await _read(process.stdout, deadline):
                    yield prefix + chunk
                    sent += len(chunk)
                    prefix = b""
                said = await read_at_most(process.stderr, _CHUNK)
                if await process.wait() != 0 and sent == 0:
                    words = own_words(said.decode(errors="replace"))
                    raise ServiceError(ErrorCode.MALFORMED, f"git refused the request: {words}.")
                complete = process.returncode == 0
        except TimeoutError as error:
            raise ServiceError(ErrorCode.TIMEOUT, "The fetch took too long; try again.") from error
        finally:
            ms = round((time.perf_counter() - began) * 1000, 1)
            self._audit.write_limited("git", workspace_id, ok=complete, bytes=sent, ms=ms)

    @contextlib.asynccontextmanager
    async def _slot(self, workspace_id: WorkspaceId, deadline: float) -> AsyncIterator[None]:
        own = self._slots_of_one.setdefault(workspace_id, asyncio.Semaphore(_PARALLEL_OF_ONE))
        async with contextlib.AsyncExitStack() as held:
            # Its own first: what waits for that holds nothing of the others'.
            async with asyncio.timeout_at(deadline):
                await held.enter_async_context(own)
                await held.enter_async_context(self._slots)
            yield

    @contextlib.asynccontextmanager
    async def _spooled(self, call: GitCall) -> AsyncIterator[IO[bytes]]:
        """Keep the request in a file: git may then read and write at its own pace, and nothing can block."""
        with tempfile.TemporaryFile() as file:
            try:
                async with asyncio.timeout(self._body_timeout_s):
                    await _receive(call, file)
            except TimeoutError as error:
                message = f"The git request did not arrive within {self._body_timeout_s:g} seconds; send it again."
                raise ServiceError(ErrorCode.TIMEOUT, message) from error
            file.seek(0)
            yield file


async def _read(stream: asyncio.StreamReader, deadline: float) -> bytes:
    # A limit around each read, none around a yield: the stream may be continued by another task.
    async with asyncio.timeout_at(deadline):
        return await stream.read(_CHUNK)


def _wanted(call: GitCall) -> str:
    if call.path == "git-receive-pack" or call.service == "git-receive-pack":
        raise ServiceError(ErrorCode.FORBIDDEN, _READ_ONLY)
    if call.method == "GET" and call.path == "info/refs":
        if call.service != _UPLOAD:
            raise ServiceError(ErrorCode.FORBIDDEN, "Only the smart HTTP protocol is served; use git 1.6.6 or newer.")
        return "advertisement"
    if call.method == "POST" and call.path == _UPLOAD:
        return "result"
    raise ServiceError(ErrorCode.NOT_FOUND, f"No git route {call.method} {call.path[:100]}.")


async def _receive(call: GitCall, file: IO[bytes]) -> None:
    unzip = zlib.decompressobj(16 + zlib.MAX_WBITS) if call.encoding in ("gzip", "x-gzip") else None
    size = 0
    try:
        async for chunk in call.body:
            plain = unzip.decompress(chunk, _BODY_LIMIT) if unzip else chunk
            size += len(plain)
            if size > _BODY_LIMIT or (unzip and unzip.unconsumed_tail):
                raise ServiceError(ErrorCode.TOO_LARGE, "The git request is too large; fetch fewer refs at once.")
            file.write(plain)
    except zlib.error as error:
        raise ServiceError(ErrorCode.MALFORMED, "The body is not gzip, as its Content-Encoding says.") from error


async def _rejoined(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    # aclosing, so that git ends at once when the client goes away, not when the garbage collector finds it.
    async with contextlib.aclosing(rest) as chunks:
        yield first
        async for chunk in chunks:
            yield chunk
