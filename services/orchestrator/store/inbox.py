"""Wake-ups: one LISTEN connection per process, fanned out to whoever waits, and live events that are not stored.

Correct without it: everyone who waits here also looks by himself, only later.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg

from services.chassis.concurrency import cancellations, raise_swallowed
from services.wire.events import Event

logger = logging.getLogger(__name__)

LIVE_BUFFER = 512
"""Live events kept for a slow reader; older ones are dropped, the stored log is complete anyway."""


@dataclass(slots=True, eq=False)
class Watch:
    """One waiter: `rows` means the database has something new, `live` holds what is not stored."""

    wake: asyncio.Event = field(default_factory=asyncio.Event)
    rows: bool = True
    live: deque[Event] = field(default_factory=lambda: deque(maxlen=LIVE_BUFFER))

    async def wait(self, seconds: float) -> None:
        """Return when woken, or after `seconds` as if something had been stored: a lost note costs time only."""
        try:
            async with asyncio.timeout(seconds):
                await self.wake.wait()
        except TimeoutError:
            self.rows = True
        self.wake.clear()


class Inbox:
    """Notes are `new:<task>`, `event:<task>` and `cancel:<task>`; a watcher names the note it waits for."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._watches: dict[str, set[Watch]] = {}

    @contextmanager
    def watch(self, note: str) -> Iterator[Watch]:
        """Yield a watch that is woken by `note`; `new` is woken by any new task."""
        watch = Watch()
        self._watches.setdefault(note, set()).add(watch)
        try:
            yield watch
        finally:
            self._watches[note].discard(watch)
            if not self._watches[note]:
                del self._watches[note]

    def publish(self, task_id: str, event: Event) -> None:
        """Show a live event to those who follow the task in this process."""
        for watch in self._watches.get(f"event:{task_id}", ()):
            watch.live.append(event)
            watch.wake.set()

    async def listen(self) -> None:
        """Receive notes until cancelled; reconnects, and wakes everyone after each gap."""
        before = cancellations()
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._url, autocommit=True, application_name="moorage-inbox", connect_timeout=5
                ) as connection:
                    await connection.execute("listen moorage")
                    raise_swallowed(before)
                    self._wake_all()
                    async for note in connection.notifies():
                        self._wake(note.payload)
                        raise_swallowed(before)
            except psycopg.OperationalError as error:
                logger.warning("inbox lost its connection", extra={"error": str(error).strip()})
            await asyncio.sleep(1.0)

    def _wake(self, payload: str) -> None:
        note = "new" if payload.startswith("new:") else payload
        for watch in self._watches.get(note, ()):
            watch.rows = True
            watch.wake.set()

    def _wake_all(self) -> None:
        for note in list(self._watches):
            self._wake(note)
