"""The two base models of everything on the wire, and the ids. Knows no message."""

from typing import Annotated, NewType

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

WorkspaceId = NewType("WorkspaceId", str)
"""`ws-` and 20 hex digits; see `services.orchestrator.domain`."""

TaskId = NewType("TaskId", str)
"""A UUID in its usual text form."""

WORKSPACE_PATTERN = r"^ws-[0-9a-f]{20}$"


def _storable(text: str) -> str:
    if "\x00" in text:
        raise PydanticCustomError("nul", "Contains a NUL character; remove it")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise PydanticCustomError("surrogate", "Contains half of a surrogate pair; send valid Unicode")
    return text


Text = Annotated[str, AfterValidator(_storable)]
"""Text that can be stored: a database takes neither a NUL nor half a surrogate pair, both of which JSON can say."""


class Request(BaseModel):
    """What a caller sends: an unknown field is an error, so that a typo is never silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Reply(BaseModel):
    """What a service answers: a reader ignores fields it does not know, so that old clients keep working."""

    model_config = ConfigDict(extra="ignore", frozen=True, validate_by_name=True, validate_by_alias=True)
