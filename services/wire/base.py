"""The two base models of everything on the wire, and the ids. Knows no message."""

from typing import NewType

from pydantic import BaseModel, ConfigDict

WorkspaceId = NewType("WorkspaceId", str)
"""`ws-` and 20 hex digits; see `services.orchestrator.domain`."""

TaskId = NewType("TaskId", str)
"""A UUID in its usual text form."""

WORKSPACE_PATTERN = r"^ws-[0-9a-f]{20}$"


class Request(BaseModel):
    """What a caller sends: an unknown field is an error, so that a typo is never silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Reply(BaseModel):
    """What a service answers: a reader ignores fields it does not know, so that old clients keep working."""

    model_config = ConfigDict(extra="ignore", frozen=True, validate_by_name=True, validate_by_alias=True)
