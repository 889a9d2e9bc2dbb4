"""The agent's HTTP API: bodies of every call on one work tree. Knows no workspace beyond it."""

from typing import Annotated, Literal

from pydantic import Base64Bytes, Field

from services.wire.base import Reply, Request
from services.wire.tasks import FileChange

RUN_HEADER = "X-Moorage-Run"
"""The workspace's run number; the agent answers 409 `stale_run` to a lower one than it has seen."""

Path = Annotated[str, Field(min_length=1, max_length=4096)]


class OpenRequest(Request):
    """`POST /open`: bring the work tree to where a run starts. `commit` None means an empty scratch tree.

    `delivered` is the commit of an earlier task's changes that reached the user: a tree like it has none of its own.
    """

    remote: str | None
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40,64}$")] | None
    start: Literal["workspace", "fresh"] = "workspace"
    delivered: Annotated[str, Field(pattern=r"^[0-9a-f]{40,64}$")] | None = None


class OpenReply(Reply):
    """`commit` is what the run starts from; `behind` counts upstream commits the tree does not have."""

    commit: str
    origin: Literal["fresh", "workspace"]
    behind: int
    ms: int


class ExecRequest(Request):
    """`POST /exec`: run a command. A string goes through bash, a list is an argv."""

    command: str | Annotated[list[str], Field(min_length=1)]
    workdir: Path | None = None
    timeout_s: Annotated[float, Field(gt=0, le=3600)] = 120.0


class ExecReply(Reply):
    """`output` is stdout and stderr as they came, the middle cut when long; `spill` names a file with all of it."""

    status: Literal["exited", "timeout"]
    exit_code: int
    output: str
    bytes: int
    cwd: str
    seconds: float
    spill: str | None = None


class ListRequest(Request):
    """`POST /files/list`: entries below `path`, down to `depth` levels."""

    path: Path = "."
    depth: Annotated[int, Field(ge=1, le=20)] = 1


class Entry(Reply):
    """One directory entry; `path` is relative to the work tree."""

    path: str
    type: Literal["file", "directory", "link", "other"]
    size: int = 0


class ListReply(Reply):
    """Sorted entries; `truncated` when there were more than the agent's limit."""

    entries: list[Entry]
    truncated: bool = False


class ReadRequest(Request):
    """`POST /files/read`: lines `line_start` to `line_end`, counted from 1, both included."""

    path: Path
    line_start: Annotated[int, Field(ge=1)] = 1
    line_end: Annotated[int, Field(ge=1)] | None = None


class ReadReply(Reply):
    """Text of the wanted lines; bytes that are not UTF-8 are replaced. `binary` files have no text."""

    path: str
    text: str
    line_start: int
    line_end: int
    total_lines: int
    bytes: int
    binary: bool = False
    truncated: bool = False


class WriteRequest(Request):
    """`POST /files/write`: create or replace a file, and the folders above it."""

    path: Path
    content: Annotated[str, Field(max_length=10_000_000)]


class WriteReply(Reply):
    """The written file."""

    path: str
    bytes: int
    created: bool


class SearchRequest(Request):
    """`POST /search`: lines matching the regular expression `query` below `path`, ignored files left out."""

    query: Annotated[str, Field(min_length=1, max_length=10_000)]
    path: Path = "."
    max_results: Annotated[int, Field(ge=1, le=1000)] = 50


class Match(Reply):
    """One matching line, counted from 1."""

    path: str
    line: int
    text: str


class SearchReply(Reply):
    """Matches in path order; `truncated` when there are more."""

    matches: list[Match]
    truncated: bool = False
    engine: Literal["ripgrep", "python"]


class PatchRequest(Request):
    """`POST /patch`: a patch in the `*** Begin Patch` format, or none of it."""

    patch: Annotated[str, Field(min_length=1, max_length=10_000_000)]


class PatchReply(Reply):
    """Files the patch touched."""

    files: list[FileChange]


class GitRequest(Request):
    """`POST /git/{status,diff,log,show}`: each uses the fields that fit it."""

    ref: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    path: Path | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 10


class TextReply(Reply):
    """Output of a read-only git command, cut when long."""

    text: str
    truncated: bool = False


class ChangesReply(Reply):
    """`GET /changes`: the work tree against the commit the run started from, committed under `refs/moorage/`.

    `patch` is the bytes of `git diff --binary`, for `git apply`; on the wire in base64.
    """

    base: str
    commit: str
    files: list[FileChange]
    patch: Base64Bytes


class AgentHealth(Reply):
    """`GET /health`."""

    status: Literal["ok"]
    workspace_id: str
    pid: int
    run_no: int
