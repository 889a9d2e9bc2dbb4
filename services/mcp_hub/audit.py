"""Audit lines: one JSON object per tool call, proxied request, git request and fetch. Knows no subject's rules.

What a sandbox says is in them, as often as it says it. So every text is clipped and the lines it can cause by itself
are limited: it must not be able to push out the lines of others.
"""

import asyncio
import contextlib
import json
import logging
import os
import threading
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from services.chassis.logs import request_id
from services.mcp_hub.rates import Rates
from services.wire.base import WorkspaceId
from services.wire.health import Part, PartState

logger = logging.getLogger(__name__)

_LONGEST: Final = {"method": 16, "tool": 64, "host": 255}
_LONGEST_OTHER: Final = 300
_PER_S: Final = 50.0
_BURST: Final = 200
_TELL_S: Final = 1.0


class Audit:
    """Appends lines to a file that is rotated at `limit` bytes, `keep` older files at most."""

    def __init__(self, path: Path, *, limit: int = 16_000_000, keep: int = 4) -> None:
        self._path = path
        self._limit = limit
        self._keep = keep
        self._lock = threading.Lock()
        self._rates = Rates(_PER_S, _BURST)
        self._failure: str | None = None
        self._lines = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Tell within a second, and at the end, how many lines were left out."""
        async with asyncio.TaskGroup() as group:
            telling = group.create_task(self._keep_telling(), name="audit")
            try:
                yield
            finally:
                telling.cancel()
                self.tell_suppressed()

    def write(self, kind: str, **facts: object) -> None:
        """Append one line; a full disk is told by `part`, not by failing the audited work."""
        with self._lock:
            self._put(kind, facts)

    def write_limited(self, kind: str, workspace: WorkspaceId, **facts: object) -> None:
        """Append one line unless this workspace has had its share of them: those are only counted."""
        with self._lock:
            if self._rates.allow(workspace):
                self._put(kind, {"workspace": workspace, **facts})

    def tell_suppressed(self) -> None:
        """Append, for each workspace of which lines were left out since the last time, how many."""
        with self._lock:
            for workspace, lines in self._rates.take_refused().items():
                self._put("suppressed", {"workspace": workspace, "lines": lines})

    def part(self) -> Part:
        """Return the state of the file for `/health`."""
        if self._failure is not None:
            return Part(state=PartState.DEGRADED, detail=f"Audit lines are not written: {self._failure}.")
        return Part(state=PartState.OK, detail=f"Writing to {self._path}.", facts={"lines": self._lines})

    async def _keep_telling(self) -> None:
        while True:
            await asyncio.sleep(_TELL_S)
            self.tell_suppressed()

    def _put(self, kind: str, facts: Mapping[str, object]) -> None:
        line: dict[str, object] = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "kind": kind}
        if (current := request_id.get()) is not None:
            line["request_id"] = current
        line |= {name: _clipped(name, value) for name, value in facts.items()}
        text = json.dumps(line, ensure_ascii=False) + "\n"
        try:
            self._append(text.encode(errors="backslashreplace"))
            self._failure = None
        except OSError as error:
            if self._failure is None:
                logger.exception("audit line not written", extra={"audit_file": str(self._path)})
            self._failure = str(error)

    def _append(self, data: bytes) -> None:
        # A short append to the page cache: microseconds, so it stays on the caller's thread and in order.
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists() and self._path.stat().st_size + len(data) > self._limit:
            self._rotate()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)
        self._lines += 1

    def _rotate(self) -> None:
        for number in range(self._keep - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        self._path.replace(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def _clipped(name: str, value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    text, longest = str(value), _LONGEST.get(name, _LONGEST_OTHER)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
