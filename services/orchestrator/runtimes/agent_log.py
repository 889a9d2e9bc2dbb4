"""What an agent says, kept in a file of bounded size. Knows no runtime.

It is hostile text: commands in the sandbox can write it, too.
"""

import asyncio
import contextlib
import logging
import os
from pathlib import Path

logger = logging.getLogger(__name__)

KEPT_BYTES = 8 * 1024 * 1024
"""Most a log holds of one start; what comes later is read and dropped."""

SHOWN_BYTES = 1024 * 1024
"""Most of a log's end that is read to be shown."""

_CHUNK = 65536
_DROPPING_S = 0.05
"""Pause between reads once nothing is kept any more, so that a flood costs its sender and not us."""


async def keep(stream: asyncio.StreamReader, path: Path) -> None:
    """Copy a stream into a file until the stream ends; a file that cannot be written ends nothing but itself."""
    left = KEPT_BYTES
    with contextlib.ExitStack() as stack:
        log = None
        try:
            log = stack.enter_context(path.open("wb", buffering=0))
        except OSError as error:
            logger.warning("an agent's log cannot be written", extra={"path": str(path), "error": str(error)})
        while chunk := await stream.read(_CHUNK):
            if log is None or left == 0:
                await asyncio.sleep(_DROPPING_S)
                continue
            with contextlib.suppress(OSError):
                log.write(chunk[:left])
            left -= min(left, len(chunk))


def last_lines(path: Path, tail: int) -> list[str]:
    """Return the last lines of a log, none when there is no such file."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - SHOWN_BYTES))
            text = log.read(SHOWN_BYTES).decode(errors="replace")
    except OSError:
        return []
    return text.splitlines()[-tail:]
