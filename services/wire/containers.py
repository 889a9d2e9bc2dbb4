"""Agent containers as callers see them. Knows no runtime."""

from datetime import datetime
from enum import StrEnum

from services.wire.base import Reply, WorkspaceId


class ContainerState(StrEnum):
    """created -> starting -> running <-> paused; running|paused -> stopping -> stopped; any -> deleted."""

    CREATED = "created"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    DELETED = "deleted"


class Container(Reply):
    """One agent container and the workspace it belongs to; `epoch` counts its starts, `queued` its waiting tasks."""

    id: WorkspaceId
    workspace_id: WorkspaceId
    repository: str | None
    state: ContainerState
    runtime: str
    isolation: str
    epoch: int
    started_at: datetime | None
    last_used_at: datetime | None
    queued: int
    image: str | None = None


class ContainerPage(Reply):
    """Every container of the caller."""

    containers: list[Container]


class GrantReply(Reply):
    """Where an MCP client finds a workspace's tools, and the bearer token it sends; it lasts `expires_s` seconds."""

    url: str
    token: str
    expires_s: int
