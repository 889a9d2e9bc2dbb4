"""Asking a service whether it answers, cheaply enough to ask often. Knows no service."""

import asyncio
from pathlib import Path

_LIMIT_S = 2.0


async def status_of(path: str, *, token: str, port: int | None = None, uds: Path | None = None) -> int | None:
    """Return the HTTP status of `GET path` on loopback or a Unix socket; None when nothing answers in 2 seconds."""
    try:
        async with asyncio.timeout(_LIMIT_S):
            if uds is not None:
                reader, writer = await asyncio.open_unix_connection(uds)
            else:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                lines = [
                    f"GET {path} HTTP/1.1",
                    "Host: 127.0.0.1",
                    f"Authorization: Bearer {token}",
                    "Connection: close",
                ]
                writer.write("\r\n".join([*lines, "", ""]).encode("ascii"))
                words = (await reader.readline()).split()
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return None
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else None
