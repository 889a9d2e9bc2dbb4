"""The filesystem server: list, read, write, search and patch files of the work tree. Knows no path rules."""

from typing import Annotated

from pydantic import Field

from services.mcp_hub.agents import Agent
from services.mcp_hub.servers.tool import Answer, Arguments, Hints, Tool
from services.wire.agent import (
    Entry,
    ListReply,
    ListRequest,
    PatchReply,
    PatchRequest,
    ReadReply,
    ReadRequest,
    SearchReply,
    SearchRequest,
    WriteReply,
    WriteRequest,
)
from services.wire.tasks import FileChange

PathText = Annotated[str, Field(min_length=1, max_length=4096)]


class ListDirectory(Arguments):
    """Arguments of `list_directory`."""

    path: PathText = Field(default=".", description="Directory, relative to the repository root.")
    depth: int = Field(default=1, ge=1, le=20, description="How many levels down to list.")


class ReadFile(Arguments):
    """Arguments of `read_file`."""

    path: PathText = Field(description="File, relative to the repository root.")
    line_start: int | None = Field(default=None, ge=1, description="First line to read, counted from 1.")
    line_end: int | None = Field(default=None, ge=1, description="Last line to read, included.")


class WriteFile(Arguments):
    """Arguments of `write_file`."""

    path: PathText = Field(description="File, relative to the repository root.")
    content: str = Field(max_length=10_000_000, description="The whole new content.")


class Search(Arguments):
    """Arguments of `search`."""

    query: str = Field(min_length=1, max_length=10_000, description="Regular expression to look for in each line.")
    path: PathText = Field(default=".", description="File or directory to search in.")
    max_results: int = Field(default=50, ge=1, le=1000, description="Most matches to return.")


class ApplyPatch(Arguments):
    """Arguments of `apply_patch`."""

    patch: str = Field(min_length=1, max_length=10_000_000, description="From '*** Begin Patch' to '*** End Patch'.")


async def list_directory(agent: Agent, wanted: ListDirectory) -> Answer:
    """One path per line, directories with a trailing slash."""
    reply = await agent.post("/files/list", ListRequest(path=wanted.path, depth=wanted.depth), ListReply)
    lines = [_shown(entry) for entry in reply.entries] or ["(empty directory)"]
    if reply.truncated:
        lines.append("[more entries are not shown; list a subdirectory or use less depth]")
    return Answer("\n".join(lines), reply.model_dump(mode="json"))


def _shown(entry: Entry) -> str:
    return entry.path + {"directory": "/", "link": "@"}.get(entry.type, "")


async def read_file(agent: Agent, wanted: ReadFile) -> Answer:
    """The text itself; a header line only when it is not the whole file."""
    body = ReadRequest(path=wanted.path, line_start=wanted.line_start or 1, line_end=wanted.line_end)
    reply = await agent.post("/files/read", body, ReadReply)
    return Answer(_read_text(reply), reply.model_dump(mode="json", exclude={"text"}))


def _read_text(reply: ReadReply) -> str:
    if reply.binary:
        return f"[{reply.path} is a binary file of {reply.bytes} bytes]"
    whole = reply.line_start <= 1 and reply.line_end >= reply.total_lines and not reply.truncated
    if whole:
        return reply.text
    return f"[{reply.path}: lines {reply.line_start}-{reply.line_end} of {reply.total_lines}]\n{reply.text}"


async def write_file(agent: Agent, wanted: WriteFile) -> Answer:
    """Say what was written."""
    reply = await agent.post("/files/write", WriteRequest(path=wanted.path, content=wanted.content), WriteReply)
    verb = "Created" if reply.created else "Replaced"
    return Answer(f"{verb} {reply.path} ({reply.bytes} bytes).", reply.model_dump(mode="json"))


async def search(agent: Agent, wanted: Search) -> Answer:
    """One `path:line: text` per match."""
    body = SearchRequest(query=wanted.query, path=wanted.path, max_results=wanted.max_results)
    reply = await agent.post("/search", body, SearchReply)
    lines = [f"{match.path}:{match.line}: {match.text}" for match in reply.matches] or ["No matches."]
    if reply.truncated:
        lines.append("[more matches are not shown; narrow the query or the path]")
    return Answer("\n".join(lines), reply.model_dump(mode="json"))


async def apply_patch(agent: Agent, wanted: ApplyPatch) -> Answer:
    """One line per changed file."""
    reply = await agent.post("/patch", PatchRequest(patch=wanted.patch), PatchReply)
    lines = [_changed(change) for change in reply.files] or ["The patch changed nothing."]
    return Answer("\n".join(lines), reply.model_dump(mode="json"))


def _changed(change: FileChange) -> str:
    size = "binary" if change.binary else f"+{change.added} -{change.removed}"
    return f"{change.status} {change.path} ({size})"


TOOLS = (
    Tool("list_directory", "List files and directories of the repository.", ListDirectory, list_directory),
    Tool("read_file", "Read a text file of the repository, or some lines of it.", ReadFile, read_file),
    Tool(
        "write_file",
        "Create a file or replace its whole content. To change a part of a file use apply_patch.",
        WriteFile,
        write_file,
        Hints(destructive=True, idempotent=True),
    ),
    Tool(
        "search", "Search the repository's files with a regular expression; ignored files are left out.", Search, search
    ),
    Tool(
        "apply_patch",
        "Edit, add, move or delete files with a patch in the '*** Begin Patch' format: all of it, or nothing.",
        ApplyPatch,
        apply_patch,
        Hints(destructive=True),
    ),
)
