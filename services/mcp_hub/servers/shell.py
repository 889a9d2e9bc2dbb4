"""The shell server: run a command in the sandbox. Knows no sandbox."""

from typing import Annotated

from pydantic import Field

from services.mcp_hub.agents import Agent
from services.mcp_hub.servers.tool import Answer, Arguments, Hints, Tool
from services.wire.agent import ExecReply, ExecRequest


class Exec(Arguments):
    """Arguments of `exec`."""

    command: str = Field(min_length=1, max_length=1_000_000, description="Command line for bash.")
    workdir: Annotated[str, Field(min_length=1, max_length=4096)] | None = Field(
        default=None, description="Directory to run in, relative to the repository root."
    )
    timeout_s: float = Field(default=120.0, gt=0, le=3600, description="Seconds after which the command is killed.")


async def execute(agent: Agent, wanted: Exec) -> Answer:
    """Output, then how the command ended, then where the whole output is."""
    body = ExecRequest(command=wanted.command, workdir=wanted.workdir, timeout_s=wanted.timeout_s)
    reply = await agent.post("/exec", body, ExecReply)
    return Answer(_told(reply, wanted.timeout_s), reply.model_dump(mode="json", exclude={"output"}))


def _told(reply: ExecReply, timeout_s: float) -> str:
    ended = f"[timed out after {timeout_s:g}s]" if reply.status == "timeout" else f"[exit code {reply.exit_code}]"
    lines = [reply.output.rstrip("\n")] if reply.output.strip() else []
    lines.append(ended)
    if reply.spill is not None:
        lines.append(f"[the whole output, {reply.bytes} bytes, is in {reply.spill}]")
    return "\n".join(lines)


TOOLS = (
    Tool(
        "exec",
        "Run a shell command in the repository's sandbox and return its output and exit code.",
        Exec,
        execute,
        Hints(destructive=True, open_world=True),
        own_time_s=lambda wanted: wanted.timeout_s,
    ),
)
