"""Payloads of the events that a run writes and its views read back. Knows no store."""

from services.wire.base import Reply
from services.wire.errors import ErrorInfo
from services.wire.tasks import Base, FileChange, ModelInfo, TaskStatus


class StartedData(Reply):
    """`task.started` and `task.resumed`: which model will answer, and how long the task was queued."""

    model: ModelInfo
    queue_ms: int = 0


class ContainerData(Reply):
    """`container.starting` and `container.ready`."""

    runtime: str
    isolation: str
    why: str
    epoch: int = 0
    started: bool = True
    ms: int = 0


class GivenFile(Reply):
    """A file the caller put before the model."""

    path: str
    text: str


class WorkspaceData(Reply):
    """`workspace.ready`: what the tree is, and the files that were asked for."""

    base: Base
    ref: str | None = None
    dirty: bool = False
    files: list[GivenFile] = []
    files_missing: list[str] = []
    fetch_ms: int = 0
    open_ms: int = 0


class SavedData(Reply):
    """`workspace.saved`: what the task changed; the patch, if it was to be delivered, is the event's attachment."""

    commit: str | None = None
    files: list[FileChange] = []
    patch: bool = False
    error: ErrorInfo | None = None


class Outcome(Reply):
    """How a run ended."""

    status: TaskStatus
    answer: str = ""
    error: ErrorInfo | None = None
