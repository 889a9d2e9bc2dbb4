"""The protocol of a runtime and the values it deals in. Knows no backend."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from services.wire.base import WorkspaceId


class Phase(StrEnum):
    """What a backend sees of an agent."""

    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the backend enforces, which is also what it reports; `why` explains what it does not."""

    isolation: str
    network: bool
    why: str


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """What an agent needs to exist."""

    workspace_id: WorkspaceId


@dataclass(frozen=True, slots=True)
class Observed:
    """An agent as the backend sees it. `egress` is where the hub listens for its traffic, if it is on this machine."""

    workspace_id: WorkspaceId
    epoch: int
    phase: Phase
    address: str
    egress: Path | None
    detail: str = ""


class Runtime(Protocol):
    """A way to run agents."""

    @property
    def name(self) -> str:
        """The backend's name in settings and answers."""

    def capabilities(self) -> Capabilities:
        """What this backend enforces here and now."""

    async def ensure(self, spec: AgentSpec, epoch: int) -> Observed:
        """Start the agent and wait until it answers; an agent of an older epoch is ended first.

        Raises:
            AgentFailed: it did not start; the message has its last words.
        """

    async def inspect(self, workspace_id: WorkspaceId) -> Observed | None:
        """What is there now, or None."""

    async def stop(self, workspace_id: WorkspaceId) -> None:
        """End the agent and all it runs; nothing when there is none."""

    async def delete(self, workspace_id: WorkspaceId) -> None:
        """Stop it and remove its disk."""

    async def logs(self, workspace_id: WorkspaceId, tail: int) -> list[str]:
        """Its last log lines."""
