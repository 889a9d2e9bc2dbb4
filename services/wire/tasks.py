"""Requests and results of tasks, as `docs/api.md` describes them. Knows no store and no HTTP."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from services.wire.base import Reply, Request, TaskId, Text, WorkspaceId
from services.wire.errors import ErrorInfo

MAX_QUERY = 1_000_000
"""Longest query in characters; the request body has a limit of its own."""

RepoText = Annotated[Text, Field(min_length=1, max_length=4096)]
RefText = Annotated[Text, Field(min_length=1, max_length=255)]
PathText = Annotated[Text, Field(max_length=4096)]


def _said(query: str) -> str:
    if not query.strip():
        raise PydanticCustomError("empty", "Is empty; say what to do")
    return query


class TaskStatus(StrEnum):
    """Where a task stands. The last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the task will not change any more."""
        return self in (TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELLED)


class OrchestrateRequest(Request):
    """The body of `POST /orchestrate`; only `query` is required."""

    query: Annotated[Text, AfterValidator(_said), Field(max_length=MAX_QUERY)]
    repo_url: RepoText | None = None
    ref: RefText | None = None
    start: Literal["workspace", "fresh"] = "workspace"
    files: Annotated[list[PathText], Field(max_length=100)] = []
    model: Annotated[Text, Field(min_length=1, max_length=200)] | None = None
    reasoning_effort: Literal["low", "medium", "high"] = "medium"
    max_steps: Annotated[int, Field(ge=1, le=200)] = 15
    timeout_s: Annotated[int, Field(ge=1, le=86_400)] = 1800
    deliver: Literal["answer", "patch"] = "patch"
    mode: Literal["wait", "async", "stream"] = "wait"


class FileChange(Reply):
    """One changed file of a result. `path` is text; bytes that are not UTF-8 appear as git quotes them."""

    path: str
    status: Literal["added", "modified", "deleted", "renamed", "type_changed"]
    added: int
    removed: int
    binary: bool = False


class Base(Reply):
    """The commit a run started from, how it was chosen, and how many commits upstream is ahead of it."""

    commit: str
    origin: Annotated[Literal["fresh", "workspace"], Field(serialization_alias="from", validation_alias="from")]
    behind: int = 0


class Changes(Reply):
    """What the task changed in the work tree."""

    files: list[FileChange] = []
    patch_url: str | None = None
    branch: str | None = None
    commit: str | None = None
    pull_request: str | None = None
    base: Base | None = None


class Usage(Reply):
    """What the task consumed. Tokens as the endpoint counted them, `seconds` of wall time, `usd` of list price."""

    steps: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    usd: float = 0.0
    seconds: float = 0.0


class StartTimes(Reply):
    """Milliseconds from acceptance to the first model call, by part; `ready` is their end."""

    queue: int = 0
    container: int = 0
    workspace: int = 0
    ready: int = 0


class ModelInfo(Reply):
    """Which model answers, where, over which wire, and why it was chosen."""

    name: str
    endpoint: str
    wire: str
    why: str


class TaskView(Reply):
    """A task as lists show it."""

    task_id: TaskId
    workspace_id: WorkspaceId
    repo_url: str | None
    query: str
    status: TaskStatus
    created_at: datetime
    finished_at: datetime | None


class TaskResult(Reply):
    """A task and everything known of it so far; complete once `status` is final."""

    task_id: TaskId
    workspace_id: WorkspaceId
    status: TaskStatus
    answer: str = ""
    changes: Changes = Changes()
    usage: Usage = Usage()
    start_ms: StartTimes = StartTimes()
    files_missing: list[str] = []
    model: ModelInfo | None = None
    error: ErrorInfo | None = None


class TaskPage(Reply):
    """One page of tasks, newest first; `next` is the cursor of the following page."""

    tasks: list[TaskView]
    next: str | None = None


class CancelReply(Reply):
    """The task's status after the request to cancel it; a running one ends within seconds."""

    task_id: TaskId
    status: TaskStatus


class DeliveredReply(Reply):
    """The commit of the changes that are now known to have reached the user."""

    task_id: TaskId
    commit: str
