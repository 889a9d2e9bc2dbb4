"""Egress listeners: one Unix socket per sandbox, each connection served as that workspace's proxy."""

import asyncio
import contextlib
import logging
import os
import socket
import stat
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from services.chassis.errors import ServiceError
from services.mcp_hub.http_relay import Client, close
from services.mcp_hub.proxy import Proxy, Rules
from services.wire.base import WorkspaceId
from services.wire.errors import ErrorCode

logger = logging.getLogger(__name__)

_CONNECTIONS: Final = 128
"""Most connections of one sandbox at once."""

_BACKLOG: Final = 64


@dataclass(slots=True)
class _Listener:
    path: Path
    rules: Rules
    server: asyncio.Server
    tasks: set[asyncio.Task[None]] = field(default_factory=set)


class Egress:
    """The listeners of this hub, while `running` is open."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._listeners: dict[WorkspaceId, _Listener] = {}
        self._lock = asyncio.Lock()
        self._group: asyncio.TaskGroup | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Own every connection until the context closes."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                yield
            finally:
                for workspace_id in list(self._listeners):
                    await self.close(workspace_id)

    @property
    def count(self) -> int:
        """How many sandboxes are listened for."""
        return len(self._listeners)

    async def listen(self, workspace_id: WorkspaceId, path: Path, allow: Sequence[str]) -> None:
        """Listen on `path` for a workspace; a second call with the same path only changes what is allowed.

        Raises:
            ServiceError: `invalid_field` when the socket cannot be made there.
        """
        async with self._lock:
            rules = Rules(tuple(allow))
            current = self._listeners.get(workspace_id)
            if current is not None and current.path == path and await asyncio.to_thread(path.is_socket):
                current.rules = rules
                return
            if current is not None:
                await self._stop(workspace_id)
            try:
                bound = await asyncio.to_thread(_bind, path)
            except OSError as error:
                message = f"Field 'socket': cannot listen on {path}: {error.strerror or error}."
                raise ServiceError(ErrorCode.INVALID_FIELD, message) from error
            await self._start(workspace_id, path, rules, bound)

    async def close(self, workspace_id: WorkspaceId) -> None:
        """Stop listening for a workspace and end its connections; nothing happens when there is no listener."""
        async with self._lock:
            await self._stop(workspace_id)

    async def _start(self, workspace_id: WorkspaceId, path: Path, rules: Rules, bound: socket.socket) -> None:
        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert self._group is not None
            if len(listener.tasks) >= _CONNECTIONS:
                logger.warning("too many egress connections", extra={"workspace_id": workspace_id})
                writer.transport.abort()
                return
            work = self._serve(workspace_id, listener, reader, writer)
            task = self._group.create_task(work, name=f"egress {workspace_id}")
            listener.tasks.add(task)
            task.add_done_callback(listener.tasks.discard)

        server = await asyncio.start_unix_server(accepted, sock=bound, limit=2 * 65536, backlog=_BACKLOG)
        listener = self._listeners[workspace_id] = _Listener(path, rules, server)

    async def _serve(
        self,
        workspace_id: WorkspaceId,
        listener: _Listener,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        try:
            await self._proxy.serve(workspace_id, listener.rules, Client(reader, writer))
        except Exception:
            logger.exception("egress connection failed", extra={"workspace_id": workspace_id})
        finally:
            await close(writer)

    async def _stop(self, workspace_id: WorkspaceId) -> None:
        listener = self._listeners.pop(workspace_id, None)
        if listener is None:
            return
        listener.server.close()
        tasks = list(listener.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5)
        await asyncio.to_thread(listener.path.unlink, missing_ok=True)


def _bind(path: Path) -> socket.socket:
    """Return a socket bound to `path`, readable by this user only; a stale one there is replaced."""
    if not path.is_absolute():
        raise OSError(f"{path} is not an absolute path")
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError("something else is there")
        path.unlink()
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        # Before bind, so that the socket never exists with wider permissions.
        os.fchmod(bound.fileno(), 0o600)
        bound.bind(str(path))
        path.chmod(0o600)
    except OSError:
        bound.close()
        raise
    return bound
