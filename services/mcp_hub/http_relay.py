"""Bytes of one proxied connection: the sandbox's side in HTTP/1.1, tunnels, and requests passed on. Knows no rules."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Final

import h11

from services.chassis.concurrency import first_failure

CHUNK: Final = 64 * 1024
IDLE_S: Final = 600.0
"""Seconds without a byte in either direction after which a connection is ended."""

_CLOSE_S: Final = 5.0
_HEAD_LIMIT: Final = 32 * 1024
_HOP_BY_HOP: Final = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"proxy-authorization", b"te", b"trailer", b"upgrade", b"host"}
)


@dataclass(slots=True)
class Counter:
    """Bytes of one connection, as the audit line tells them."""

    sent: int = 0
    received: int = 0


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes; `path` is empty for a tunnel."""

    host: str
    port: int
    path: str


@dataclass(frozen=True, slots=True)
class Upstream:
    """A connection to the target."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Client:
    """The sandbox's side of a connection, spoken in HTTP/1.1."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_LIMIT)

    async def event(self) -> h11.Event:
        """Return the next event of the request."""
        while True:
            event = self.http.next_event()
            if isinstance(event, h11.Event):
                return event
            if event is h11.PAUSED:
                raise h11.RemoteProtocolError("a second request before the first was answered")
            self.http.receive_data(await self.reader.read(CHUNK))

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the request's body."""
        if self.http.they_are_waiting_for_100_continue:
            await self.send(h11.InformationalResponse(status_code=100, headers=[]))
        while isinstance(event := await self.event(), h11.Data):
            yield bytes(event.data)

    async def send(self, event: h11.Event, *, stall_s: float = IDLE_S) -> None:
        """Send a part of the response.

        Raises:
            TimeoutError: the sandbox took none of it for `stall_s` seconds.
        """
        if data := self.http.send(event):
            async with asyncio.timeout(stall_s):
                self.writer.write(data)
                await self.writer.drain()

    async def refuse(self, status: int, message: str) -> None:
        """Answer with an error: its words also as the reason, which clients show of a refused CONNECT."""
        if self.http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        body = f"{message}\n".encode()
        reason = message.encode("ascii", "replace")[:300]
        headers = [
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Content-Length", str(len(body)).encode()),
            (b"Connection", b"close"),
        ]
        await self.send(h11.Response(status_code=status, reason=reason, headers=headers))
        await self.send(h11.Data(data=body))
        await self.send(h11.EndOfMessage())


async def tunnel(client: Client, upstream: Upstream, counter: Counter) -> None:
    """Carry bytes both ways until both sides have ended; one that ends alone is passed on as a half-close."""
    await client.event()  # the end of the CONNECT request, before which no response may be sent
    await client.send(h11.Response(status_code=200, reason=b"Connection established", headers=[]))
    early, ended = client.http.trailing_data
    if early:
        await _write(upstream.writer, early)
        counter.sent += len(early)
    loop = asyncio.get_running_loop()

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, outward: bool) -> None:
        while chunk := await source.read(CHUNK):
            counter.sent += len(chunk) if outward else 0
            counter.received += 0 if outward else len(chunk)
            await _write(sink, chunk)
            # Bytes in either direction keep both alive.
            idle.reschedule(loop.time() + IDLE_S)
        if sink.can_write_eof():
            sink.write_eof()

    async with _one_failure(), asyncio.timeout(IDLE_S) as idle, asyncio.TaskGroup() as group:
        if not ended:
            group.create_task(pump(client.reader, upstream.writer, outward=True), name="egress out")
        group.create_task(pump(upstream.reader, client.writer, outward=False), name="egress in")


async def relay(client: Client, request: h11.Request, target: Target, upstream: Upstream, counter: Counter) -> None:
    """Pass one plain request on and its response back, both parsed, so that no second request hides behind them."""
    http = h11.Connection(h11.CLIENT)
    host = f"[{target.host}]" if ":" in target.host else target.host
    authority = host if target.port == 80 else f"{host}:{target.port}"
    own = [(b"Host", authority.encode()), *_end_to_end(request.headers), (b"Connection", b"close")]
    head = h11.Request(method=request.method, target=target.path.encode(), headers=own)

    async def forward() -> None:
        # A server may answer and close before it has read everything: its answer then counts, not our broken pipe.
        with contextlib.suppress(OSError):
            await _write(upstream.writer, http.send(head))
            async for chunk in counted(client.body(), counter):
                await _write(upstream.writer, http.send(h11.Data(data=chunk)))
            await _write(upstream.writer, http.send(h11.EndOfMessage()))

    async with _one_failure(), asyncio.TaskGroup() as group:
        sending = group.create_task(forward(), name="egress request")
        await _answer(client, http, upstream, counter)
        # An answer that came before the request's end is final: the rest need not be sent.
        sending.cancel()


async def send_stream(
    client: Client, content_type: str, stream: AsyncGenerator[bytes, None], counter: Counter, *, stall_s: float
) -> None:
    """Answer with a stream, which is closed whatever happens.

    Raises:
        TimeoutError: the sandbox took nothing for `stall_s` seconds.
    """
    headers = [
        (b"Content-Type", content_type.encode()),
        (b"Cache-Control", b"no-cache"),
        (b"Connection", b"close"),
    ]
    async with contextlib.aclosing(stream) as chunks:
        await client.send(h11.Response(status_code=200, headers=headers), stall_s=stall_s)
        async for chunk in chunks:
            counter.received += len(chunk)
            await client.send(h11.Data(data=chunk), stall_s=stall_s)
    await client.send(h11.EndOfMessage(), stall_s=stall_s)


async def counted(chunks: AsyncIterator[bytes], counter: Counter) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of a request's body, adding them up."""
    async for chunk in chunks:
        counter.sent += len(chunk)
        yield chunk


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection; a peer that does not take what is left for it is cut off."""
    writer.close()
    try:
        async with asyncio.timeout(_CLOSE_S):
            await writer.wait_closed()
    except (OSError, TimeoutError):
        writer.transport.abort()


async def _answer(client: Client, http: h11.Connection, upstream: Upstream, counter: Counter) -> None:
    while True:
        event = await _next(http, upstream, counter)
        if isinstance(event, h11.InformationalResponse):
            continue
        if isinstance(event, h11.Response):
            headers = [*_end_to_end(event.headers), (b"Connection", b"close")]
            event = h11.Response(status_code=event.status_code, reason=event.reason, headers=headers)
        await client.send(event)
        if isinstance(event, h11.EndOfMessage):
            return


async def _next(http: h11.Connection, upstream: Upstream, counter: Counter) -> h11.Event:
    while True:
        event = http.next_event()
        if isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
            raise h11.RemoteProtocolError("the server ended without an answer")
        if isinstance(event, h11.Event):
            return event
        async with asyncio.timeout(IDLE_S):
            data = await upstream.reader.read(CHUNK)
        counter.received += len(data)
        http.receive_data(data)


def _end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name not in _HOP_BY_HOP]


async def _write(writer: asyncio.StreamWriter, data: bytes | None) -> None:
    if data:
        writer.write(data)
        await writer.drain()


@contextlib.asynccontextmanager
async def _one_failure() -> AsyncGenerator[None, None]:
    """Let what failed first in a group of tasks leave as itself."""
    try:
        yield
    except BaseExceptionGroup as failures:
        raise first_failure(failures) from None
