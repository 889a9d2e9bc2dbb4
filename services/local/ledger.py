"""`stack.json`: what of a home's stack runs, written by its supervisor and read by everyone else. Holds no secret."""

import os
from datetime import datetime

from pydantic import BaseModel, ConfigDict, ValidationError

from services.local import private
from services.local.home import Home
from services.local.processes import Process


class Entry(BaseModel):
    """One child: who it is now, and how often it was started again."""

    model_config = ConfigDict(frozen=True)

    pid: int
    started: str
    restarts: int = 0

    @property
    def process(self) -> Process:
        """The process this entry is about."""
        return Process(self.pid, self.started)


class Ledger(BaseModel):
    """One stack; `ready` once every child answered, `supervisor` is who stops it."""

    model_config = ConfigDict(frozen=True)

    version: str
    supervisor: Entry
    address: str
    port: int
    hub_port: int
    runtime: str
    database: str
    model: dict[str, str] | None = None
    """Digests of the model settings it was started with."""
    since: datetime
    ready: bool = False
    children: dict[str, Entry] = {}

    def write(self, home: Home) -> None:
        """Replace the home's `stack.json`; a reader sees the old or the new one, never a part."""
        draft = home.stack_file.with_suffix(f".{os.getpid()}.new")
        draft.unlink(missing_ok=True)
        private.create(draft, self.model_dump_json(indent=2) + "\n")
        draft.replace(home.stack_file)


def read(home: Home) -> Ledger | None:
    """Return the ledger of the stack that runs now; one whose supervisor is gone counts as none."""
    try:
        ledger = Ledger.model_validate_json(home.stack_file.read_bytes())
    except (OSError, ValidationError):
        return None
    return ledger if ledger.supervisor.process.alive else None
