"""Audit lines: one JSON object per tool call, proxied request, git request and fetch. Knows no subject's rules."""

import json
import logging
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

from services.chassis.logs import request_id
from services.wire.health import Part, PartState

logger = logging.getLogger(__name__)


class Audit:
    """Appends lines to a file that is rotated at `limit` bytes, `keep` older files at most."""

    def __init__(self, path: Path, *, limit: int = 16_000_000, keep: int = 4) -> None:
        self._path = path
        self._limit = limit
        self._keep = keep
        self._lock = threading.Lock()
        self._failure: str | None = None
        self._lines = 0

    def write(self, kind: str, **facts: object) -> None:
        """Append one line; a full disk is told by `part`, not by failing the audited work."""
        line: dict[str, object] = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "kind": kind}
        if (current := request_id.get()) is not None:
            line["request_id"] = current
        text = json.dumps(line | facts, default=str, ensure_ascii=False) + "\n"
        with self._lock:
            try:
                self._append(text.encode(errors="backslashreplace"))
                self._failure = None
            except OSError as error:
                if self._failure is None:
                    logger.exception("audit line not written", extra={"audit_file": str(self._path)})
                self._failure = str(error)

    def part(self) -> Part:
        """Return the state of the file for `/health`."""
        if self._failure is not None:
            return Part(state=PartState.DEGRADED, detail=f"Audit lines are not written: {self._failure}.")
        return Part(state=PartState.OK, detail=f"Writing to {self._path}.", facts={"lines": self._lines})

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
