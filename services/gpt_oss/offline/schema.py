"""Bodies of the Chat Completions API, as much of them as the engine uses. Knows no rule."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MODEL = "offline-rules"
"""The engine's model id: it says what it is."""

OWNER = "moorage"


class Body(BaseModel):
    """A caller may send any field OpenAI knows; those without a meaning here are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Part(Body):
    """One typed part of a message; only text is read."""

    type: str = "text"
    text: str = ""


class FunctionCall(Body):
    """Name and arguments of a call, the arguments as JSON text."""

    name: str
    arguments: str = "{}"


class ToolCall(Body):
    """A call an assistant message asks for."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class Message(Body):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """The message's text, its parts joined."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content if part.text)
        return self.content or ""


class FunctionSpec(Body):
    """An offered function."""

    name: Annotated[str, Field(min_length=1)]
    description: str | None = None
    parameters: dict[str, Any] | None = None


class ToolSpec(Body):
    """An offered tool."""

    type: Literal["function"]
    function: FunctionSpec


class FunctionName(Body):
    """The name in a tool choice."""

    name: str


class NamedTool(Body):
    """A tool choice that names one function."""

    type: Literal["function"]
    function: FunctionName


class StreamOptions(Body):
    """How to stream."""

    include_usage: bool = False


class ResponseFormat(Body):
    """The wanted shape of the answer; only `text` can be served."""

    type: str


class ChatRequest(Body):
    """The body of `POST /v1/chat/completions`."""

    model: str = MODEL
    messages: Annotated[list[Message], Field(min_length=1)]
    tools: list[ToolSpec] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = True
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: int | None = 1
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    response_format: ResponseFormat | None = None

    @property
    def token_limit(self) -> int | None:
        """The most tokens the answer may have, if the caller says so."""
        return self.max_completion_tokens or self.max_tokens
