"""The agent's routes. Each parses, calls one part, and answers; what the parts do is theirs."""

import asyncio
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request

from services.agent.fence import Fence
from services.agent.files import Files
from services.agent.history import History
from services.agent.patch import Patcher
from services.agent.search import Search
from services.agent.shell import Shell
from services.agent.workspace import Workspace
from services.chassis.concurrency import guarded
from services.chassis.errors import ServiceError
from services.wire.agent import (
    RUN_HEADER,
    AgentHealth,
    ChangesReply,
    ExecReply,
    ExecRequest,
    GitRequest,
    ListReply,
    ListRequest,
    OpenReply,
    OpenRequest,
    PatchReply,
    PatchRequest,
    ReadReply,
    ReadRequest,
    SearchReply,
    SearchRequest,
    TextReply,
    WriteReply,
    WriteRequest,
)
from services.wire.errors import ErrorCode


@dataclass(frozen=True, slots=True)
class Agent:
    """The parts behind the routes."""

    workspace_id: str
    pid: int
    fence: Fence
    workspace: Workspace
    shell: Shell
    files: Files
    search: Search
    patcher: Patcher
    history: History


def agent(request: Request) -> Agent:
    """Return the parts the lifespan built."""
    parts: Agent = request.state.agent
    return parts


Parts = Annotated[Agent, Depends(agent)]
Run = Annotated[int, Header(alias=RUN_HEADER, ge=0)]

router = APIRouter()


@router.get("/health")
async def health(parts: Parts) -> AgentHealth:
    """Say whose work tree this is and the newest run it has seen."""
    return AgentHealth(status="ok", workspace_id=parts.workspace_id, pid=parts.pid, run_no=parts.fence.highest)


@router.post("/open")
async def open_workspace(body: OpenRequest, parts: Parts, run: Run = 0) -> OpenReply:
    """Bring the work tree to where a run starts; the shell forgets its folder and exports."""
    async with parts.fence.hold(run):
        reply = await parts.workspace.open(body)
        parts.shell.reset()
        return reply


@router.get("/changes")
async def changes(parts: Parts, run: Run = 0) -> ChangesReply:
    """Commit the work tree under a private ref and answer what changed since the base."""
    async with parts.fence.hold(run):
        return await parts.workspace.changes()


@router.post("/exec")
async def execute(body: ExecRequest, request: Request, parts: Parts, run: Run = 0) -> ExecReply:
    """Run a command; a client that goes away takes its command with it."""
    async with parts.fence.hold(run):
        return await guarded(parts.shell.run(body), _gone(request))


@router.post("/files/list")
async def list_files(body: ListRequest, parts: Parts) -> ListReply:
    """List entries below a folder."""
    return await asyncio.to_thread(parts.files.list, body)


@router.post("/files/read")
async def read_file(body: ReadRequest, parts: Parts) -> ReadReply:
    """Read lines of a file."""
    return await asyncio.to_thread(parts.files.read, body)


@router.post("/files/write")
async def write_file(body: WriteRequest, parts: Parts, run: Run = 0) -> WriteReply:
    """Create or replace a file."""
    # Not interruptible, here and for a patch: a thread cannot be stopped, so a newer run waits for it.
    async with parts.fence.hold(run, interruptible=False):
        return await asyncio.to_thread(parts.files.write, body)


@router.post("/patch")
async def apply_patch(body: PatchRequest, parts: Parts, run: Run = 0) -> PatchReply:
    """Apply a patch, or none of it."""
    async with parts.fence.hold(run, interruptible=False):
        return await asyncio.to_thread(parts.patcher.apply, body)


@router.post("/search")
async def search(body: SearchRequest, parts: Parts) -> SearchReply:
    """Find lines."""
    return await parts.search.find(body)


@router.post("/git/status")
async def git_status(body: GitRequest, parts: Parts) -> TextReply:
    """Show changed files."""
    return await parts.history.status(body)


@router.post("/git/diff")
async def git_diff(body: GitRequest, parts: Parts) -> TextReply:
    """Show changed lines."""
    return await parts.history.diff(body)


@router.post("/git/log")
async def git_log(body: GitRequest, parts: Parts) -> TextReply:
    """Show commits."""
    return await parts.history.log(body)


@router.post("/git/show")
async def git_show(body: GitRequest, parts: Parts) -> TextReply:
    """Show one commit."""
    return await parts.history.show(body)


async def _gone(request: Request) -> None:
    """Raise once the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    raise ServiceError(ErrorCode.CANCELLED, "The client went away; its command was ended.")
