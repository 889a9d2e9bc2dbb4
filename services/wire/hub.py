"""What the hub and its callers say to each other: grants, mirrors, egress. Knows no tool."""

from typing import Annotated

from pydantic import Field

from services.wire.base import WORKSPACE_PATTERN, Reply, Request, TaskId, WorkspaceId

GRANT_AUDIENCE = "moorage-hub"

GIT_HOST = "git.moorage"
"""The name under which a sandbox reaches its repository's mirror through the egress proxy."""

Workspace = Annotated[WorkspaceId, Field(pattern=WORKSPACE_PATTERN)]


class Grant(Reply):
    """A short-lived permission to use one workspace's tools, signed by the orchestrator.

    `agent` is the agent's address inside a run; without it the hub asks the orchestrator, which wakes the agent.
    `tools` are globs over hub names; `run_no` 0 means an outside client.
    """

    workspace_id: Workspace
    task_id: TaskId | None = None
    run_no: int = 0
    epoch: int = 0
    tools: list[str] = ["*"]
    agent: str | None = None


class MirrorRequest(Request):
    """`POST /internal/mirrors`: fetch a repository and name the commit a run should start from.

    `fetch_url` is what git is given, an absolute path for a local repository; `ref` None means its default branch.
    """

    workspace_id: Workspace
    fetch_url: Annotated[str, Field(min_length=1, max_length=4096)]
    local: bool = False
    ref: Annotated[str, Field(min_length=1, max_length=255)] | None = None


class MirrorReply(Reply):
    """`commit` None means the repository is empty; `dirty`: `commit` holds a local tree's uncommitted changes.

    `ref` is for people: what of a name is not UTF-8 is escaped.
    """

    commit: str | None
    ref: str | None
    remote: str
    dirty: bool = False
    ms: int


class EgressRequest(Request):
    """`PUT /internal/egress/{workspace_id}`: listen on a Unix socket for that sandbox's traffic.

    `allow` are `host` or `host:port` globs; port 443 and 80 when none is named.
    """

    socket: Annotated[str, Field(min_length=1, max_length=107)]
    allow: list[str]


class AgentAddress(Reply):
    """Answer of the orchestrator's `POST /internal/workspaces/{id}/agent`; `busy`: a run owns the workspace."""

    address: str
    epoch: int
    run_no: int
    busy: bool
