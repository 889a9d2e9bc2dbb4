"""What a process said last, out of the part of its log that one start of it wrote. Knows no process."""

import json
from pathlib import Path
from typing import Any

_LONGEST_TAIL = 32768
_LONGEST = 600
_TRACEBACK = "Traceback (most recent call last):"


def size(log: Path) -> int:
    """Return how many bytes a log has; none when it is not there."""
    try:
        return log.stat().st_size
    except OSError:
        return 0


def last_words(log: Path, since: int = 0) -> str:
    """Return why a process ended, as its log says after its first `since` bytes, and the log's name; on one line.

    That is its last plain line, else its last logged error, else its last line.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(since, size(log) - _LONGEST_TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        text = ""
    said = " ".join(_reason([line for line in text.splitlines() if line.strip()]).split())
    if not said:
        return f"it wrote nothing to {log}"
    said = said.rstrip(".") if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"
    return f"{said} (see {log})"


def _reason(lines: list[str]) -> str:
    entries = [(line, _entry(line)) for line in lines]
    if plain := [line for line, entry in entries if entry is None]:
        return _of_traceback(plain) if _TRACEBACK in plain else plain[-1]
    errors = [entry for _, entry in entries if entry and entry.get("severity") in ("ERROR", "CRITICAL")]
    if not errors:
        return str((entries[-1][1] or {}).get("message") or entries[-1][0]) if entries else ""
    message = str(errors[-1].get("message", ""))
    exception = _of_traceback(str(errors[-1].get("exception", "")).splitlines())
    return f"{message}: {exception}" if exception else message


def _entry(line: str) -> dict[str, Any] | None:
    """Return a line that the services' loggers wrote, or None for a plain one."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _of_traceback(lines: list[str]) -> str:
    """Return what was raised last, without the way there and the links that follow it."""
    start = max((number for number, line in enumerate(lines) if line == _TRACEBACK), default=-1) + 1
    raised = next((number for number in range(start, len(lines)) if not lines[number].startswith(" ")), len(lines))
    return " ".join(line for line in lines[raised : raised + 3] if "For further information" not in line)
