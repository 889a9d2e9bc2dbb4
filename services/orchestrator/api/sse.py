"""Events as server-sent events. Knows no route."""

from collections.abc import AsyncIterator
from typing import Any

from sse_starlette import EventSourceResponse

from services.wire.events import Event

PING_S = 15
STALLED_READER_S = 30


def as_sse(event: Event) -> dict[str, Any]:
    """One event; its sequence number is the id to resume from, live events have none."""
    sent = {"event": str(event.kind), "data": event.model_dump_json()}
    return {**sent, "id": str(event.seq)} if event.seq else sent


def sse_response(events: AsyncIterator[dict[str, Any]]) -> EventSourceResponse:
    """A stream with a heartbeat; a reader that takes nothing for half a minute is dropped, and may resume."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return EventSourceResponse(events, ping=PING_S, send_timeout=STALLED_READER_S, headers=headers)
