"""A run's event log: what was, and what the run adds. Knows no meaning of any event."""

from collections.abc import Sequence
from datetime import UTC, datetime

from services.orchestrator.store.inbox import Inbox
from services.orchestrator.store.tasks import Run, TaskStore
from services.wire.base import Reply
from services.wire.events import Event, EventKind


class Record:
    """The events of one task so far, and the only way a run writes more of them."""

    def __init__(self, run: Run, store: TaskStore, inbox: Inbox, events: Sequence[Event]) -> None:
        self.run = run
        self._store = store
        self._inbox = inbox
        self.events = list(events)

    @classmethod
    async def load(cls, run: Run, store: TaskStore, inbox: Inbox) -> "Record":
        """Read what earlier runs of the task wrote."""
        return cls(run, store, inbox, await store.log(run.task_id))

    async def add(self, kind: EventKind, data: Reply | None = None, *, attachment: bytes | None = None) -> Event:
        """Append an event.

        Raises:
            LeaseLost: another run owns the task; nothing was written.
        """
        payload = data.model_dump(mode="json", by_alias=True) if data is not None else {}
        event = await self._store.append(self.run, kind, payload, step=self.step, attachment=attachment)
        self.events.append(event)
        return event

    def show(self, kind: EventKind, data: dict[str, str]) -> None:
        """Show a live event to those who follow the task; it is not stored."""
        live = Event(seq=0, at=datetime.now(UTC), kind=kind, run_no=self.run.run_no, step=self.step + 1, data=data)
        self._inbox.publish(self.run.task_id, live)

    @property
    def step(self) -> int:
        """Number of model turns so far; a tool call belongs to the turn that asked for it."""
        return sum(event.kind is EventKind.MODEL_TURN for event in self.events)

    def of(self, kind: EventKind) -> list[Event]:
        """The events of one kind, in order."""
        return [event for event in self.events if event.kind is kind]
