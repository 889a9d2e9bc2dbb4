"""The git server: read the repository's state and history. Knows no way to change it."""

from typing import Annotated

from pydantic import Field

from services.mcp_hub.agents import Agent
from services.mcp_hub.servers.tool import Answer, Arguments, Tool
from services.wire.agent import GitRequest, TextReply

RefText = Annotated[str, Field(min_length=1, max_length=255)]
PathText = Annotated[str, Field(min_length=1, max_length=4096)]


class Status(Arguments):
    """`status` takes no argument."""


class Diff(Arguments):
    """Arguments of `diff`."""

    ref: RefText | None = Field(
        default=None, description="Commit or branch to compare the work tree with; by default the run's start."
    )
    path: PathText | None = Field(default=None, description="Only this file or directory.")


class Log(Arguments):
    """Arguments of `log`."""

    limit: int = Field(default=10, ge=1, le=1000, description="Most commits to show.")
    path: PathText | None = Field(default=None, description="Only commits that touch this file or directory.")


class Show(Arguments):
    """Arguments of `show`."""

    ref: RefText = Field(description="Commit, branch or tag.")


async def status(agent: Agent, _: Status) -> Answer:
    """Changed and untracked files."""
    return await _ask(agent, "status", GitRequest(), "Nothing has changed.")


async def diff(agent: Agent, wanted: Diff) -> Answer:
    """A unified diff."""
    return await _ask(agent, "diff", GitRequest(ref=wanted.ref, path=wanted.path), "No differences.")


async def log(agent: Agent, wanted: Log) -> Answer:
    """Commits, newest first."""
    return await _ask(agent, "log", GitRequest(limit=wanted.limit, path=wanted.path), "No commits.")


async def show(agent: Agent, wanted: Show) -> Answer:
    """One commit and its diff."""
    return await _ask(agent, "show", GitRequest(ref=wanted.ref), "Nothing to show.")


async def _ask(agent: Agent, command: str, body: GitRequest, nothing: str) -> Answer:
    reply = await agent.post(f"/git/{command}", body, TextReply)
    text = reply.text if reply.text.strip() else nothing
    return Answer(f"{text.rstrip()}\n[the rest is not shown]" if reply.truncated else text)


TOOLS = (
    Tool("status", "Show which files of the work tree have changed.", Status, status),
    Tool("diff", "Show changes of the work tree as a unified diff.", Diff, diff),
    Tool("log", "List recent commits, newest first.", Log, log),
    Tool("show", "Show one commit: its message and its diff.", Show, show),
)
