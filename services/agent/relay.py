"""The sandbox's way out: a loopback port whose bytes go to the egress proxy's Unix socket, and back. Reads none."""

import asyncio
import contextlib
import logging
from pathlib import Path

from services.chassis.peers import is_ours

logger = logging.getLogger(__name__)

_CHUNK = 65_536
_CONNECTIONS = 256
_CONNECT_S = 5.0
_IDLE_S = 900.0
_UNREACHABLE = b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Relay:
    """Relays connections of one loopback port to one Unix socket."""

    def __init__(self, socket: Path, port: int) -> None:
        self.port = port
        self._socket = socket
        self._open = 0

    async def serve(self, ready: asyncio.Event) -> None:
        """Relay until cancelled; sets `ready`, with `port` the true one, once connections are accepted."""
        async with asyncio.TaskGroup() as group:

            def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                group.create_task(self._connection(reader, writer), name="relay")

            server = await asyncio.start_server(accepted, "127.0.0.1", self.port, limit=_CHUNK)
            try:
                self.port = server.sockets[0].getsockname()[1]
                ready.set()
                await asyncio.Event().wait()
            finally:
                server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # Without a sandbox other accounts of the machine reach the port; the way out is this repository's only.
            if not is_ours(writer.get_extra_info("peername"), writer.get_extra_info("sockname")):
                return
            if self._open >= _CONNECTIONS:
                writer.write(_BUSY)
                return
            self._open += 1
            try:
                await self._relay(reader, writer)
            finally:
                self._open -= 1
        except Exception:  # one connection, whatever becomes of it, is not the end of the agent
            logger.debug("a relayed connection broke", exc_info=True)
        finally:
            writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_CONNECT_S):
                up_reader, up_writer = await asyncio.open_unix_connection(str(self._socket), limit=_CHUNK)
        except (OSError, TimeoutError):
            logger.warning("the egress proxy cannot be reached")
            writer.write(_UNREACHABLE)
            return
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, up_writer), name="relay out")
                group.create_task(_pump(up_reader, writer), name="relay in")
        except* (OSError, TimeoutError):
            logger.debug("a relayed connection broke", exc_info=True)
        finally:
            up_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end of one direction, and pass the end on; the other direction may go on."""
    while True:
        async with asyncio.timeout(_IDLE_S):
            piece = await reader.read(_CHUNK)
        if not piece:
            break
        writer.write(piece)
        async with asyncio.timeout(_IDLE_S):
            await writer.drain()
    # uvloop raises RuntimeError where the peer was quicker, asyncio OSError.
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()
