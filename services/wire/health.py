"""The answer of every service's `/health`. Knows no part's name."""

from enum import StrEnum
from typing import Any

from services.wire.base import Reply


class PartState(StrEnum):
    """`degraded` works with less than asked for; `down` does not work."""

    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"


class Part(Reply):
    """One part: its state, one sentence, how long it took to answer, and facts about it."""

    state: PartState
    detail: str
    latency_ms: float | None = None
    facts: dict[str, Any] = {}


class Health(Reply):
    """The worst state of the parts, and each part by name."""

    status: PartState
    service: str
    version: str
    parts: dict[str, Part] = {}
