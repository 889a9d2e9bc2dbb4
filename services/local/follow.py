"""A task's events as they happen, over connections that may break. Knows no terminal."""

import json
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

from services.local.cli_errors import CliError, ExitCode, Refusal, Unreachable
from services.local.client import Api

PATIENCE_S = 60.0
SILENCE_S = 45.0
"""The server says something every 15 seconds; three missed beats are a dead connection."""

MAX_MESSAGE = 64 * 1024 * 1024
"""Bytes of one message; more is not a stream of ours."""

_PROVEN_S = 5.0
"""A connection older than this counts as life even without a new event; one that breaks at once does not."""

_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 2.0


@dataclass(frozen=True, slots=True)
class Message:
    """One server-sent event."""

    id: str | None
    event: str
    data: str


class SseParser:
    """Server-sent events from bytes cut anywhere: LF, CRLF or CR ends a line, data may take several, `:` comments."""

    def __init__(self, *, limit: int = MAX_MESSAGE) -> None:
        self._limit = limit
        self._line = bytearray()
        self._after_cr = False
        self._first = True
        self._id: str | None = None
        self._event = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[Message]:
        """Yield the messages that are complete with this chunk.

        Raises:
            CliError: a message is larger than the limit in bytes.
        """
        if not chunk:
            return
        fresh = chunk.removeprefix(b"\n") if self._after_cr else chunk
        self._after_cr = chunk.endswith(b"\r")
        *lines, rest = fresh.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for piece in lines:
            line = bytes(self._line) + piece
            self._line.clear()
            yield from self._take(line)
        self._line += rest
        if self._size + len(self._line) > self._limit:
            raise _foreign()

    def _take(self, line: bytes) -> Iterator[Message]:
        text = line.decode("utf-8", "replace")
        if self._first:
            text, self._first = text.removeprefix("\ufeff"), False
        if not text:
            yield from self._dispatch()
            return
        name, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
            self._size += len(line)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value

    def _dispatch(self) -> Iterator[Message]:
        if self._data:
            yield Message(self._id, self._event or "message", "\n".join(self._data))
        self._id, self._event, self._data, self._size = None, "", [], 0


class Follower:
    """Follows one task from after an event; `after` is the last stored one that was yielded."""

    def __init__(self, api: Api, task_id: str, *, after: int = 0, patience_s: float = PATIENCE_S) -> None:
        self.after = after
        self._api = api
        self._path = f"/tasks/{task_id}/events"
        self._patience_s = patience_s
        self._heard_at = time.monotonic()

    def events(self, limit_s: float | None = None) -> Iterator[dict[str, Any]]:
        """Yield each event once, in order, until the task has ended or `limit_s` seconds have passed.

        A broken connection is taken up again after the last event.

        Raises:
            Refusal: the server does not let us follow this task.
            CliError: nothing new was heard for as long as our patience lasts.
        """
        end = None if limit_s is None else time.monotonic() + limit_s
        delay = _FIRST_DELAY_S
        self._heard_at = time.monotonic()
        while end is None or time.monotonic() < end:
            before = self.after
            try:
                if (yield from self._connection(end)):
                    return
                failure: CliError = Unreachable("The event stream ended before the task did.")
            except Refusal as error:
                if error.status < 500 and error.status != 429:
                    raise
                failure = error
            except Unreachable as error:
                failure = error
            if time.monotonic() - self._heard_at > self._patience_s:
                raise Unreachable(f"{failure} Gave up after {self._patience_s:.0f} s; the task may go on.")
            delay = _FIRST_DELAY_S if self.after > before else min(delay * 2, _LONGEST_DELAY_S)
            time.sleep(delay)

    def _connection(self, end: float | None) -> Generator[dict[str, Any], None, bool]:
        """Yield what one connection brings; return whether there is nothing more to come."""
        headers = {"Accept": "text/event-stream"}
        if self.after:
            headers["Last-Event-ID"] = str(self.after)
        silence_s = SILENCE_S if end is None else max(0.1, min(SILENCE_S, end - time.monotonic()))
        with self._api.open("GET", self._path, headers=headers, silence_s=silence_s) as response:
            if response.status == 204:
                return True
            parser = SseParser()
            connected_at = time.monotonic()
            while chunk := response.read1(65536):
                now = time.monotonic()
                if now - connected_at > _PROVEN_S:
                    self._heard_at = now
                for message in parser.feed(chunk):
                    if (event := self._new(message)) is not None:
                        yield event
                        if event["kind"] == "task.finished":
                            return True
                if end is not None and now > end:
                    return True
        return False

    def _new(self, message: Message) -> dict[str, Any] | None:
        """Return the event, unless it was yielded before or is none."""
        try:
            event = json.loads(message.data)
        except ValueError as error:
            raise _foreign() from error
        if not isinstance(event, dict) or "kind" not in event:
            return None
        seq = event.get("seq") or 0
        if not isinstance(seq, int):
            raise _foreign()
        if seq:
            if seq <= self.after:
                return None
            self.after = seq
            self._heard_at = time.monotonic()
        return event


def _foreign() -> CliError:
    # Not `Unreachable`: another connection would bring the same.
    return CliError("The event stream is not one of Moorage's; check the address.", ExitCode.UNREACHABLE)
