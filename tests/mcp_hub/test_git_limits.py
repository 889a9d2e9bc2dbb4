"""What one workspace can take of the git face: its own slots, and no longer than it reads and writes."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest

from services.chassis.errors import ServiceError
from services.mcp_hub.audit import Audit
from services.mcp_hub.git_gateway import GitAnswer, GitCall, GitGateway
from services.mcp_hub.git_process import Git
from services.mcp_hub.git_response import GitResponse
from services.mcp_hub.http_relay import Client, Counter, send_stream
from services.mcp_hub.mirror import Mirrors
from services.mcp_hub.remotes import Remotes
from services.mcp_hub.settings import user_environment
from services.wire.base import WorkspaceId
from services.wire.errors import ErrorCode
from services.wire.hub import MirrorRequest
from tests.mcp_hub.support import OTHER, WORKSPACE

LISTING = b"0014command=ls-refs\n0000"


@pytest.fixture
async def gateway(tmp_path: Path, repository: Path) -> GitGateway:
    """A gateway to a mirror of two workspaces; a request has half a second to arrive."""
    git, audit = Git(user_environment()), Audit(tmp_path / "audit.jsonl")
    mirrors = Mirrors(tmp_path / "hub", git, Remotes(git, ()), audit, fetch_timeout_s=60)
    for workspace in (WORKSPACE, OTHER):
        await mirrors.fetch(MirrorRequest(workspace_id=workspace, fetch_url=str(repository), local=True))
    return GitGateway(mirrors, git, audit, timeout_s=60, body_timeout_s=0.5)


async def once(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def silent() -> AsyncIterator[bytes]:
    yield LISTING[:4]
    await asyncio.Event().wait()


def asking(body: AsyncIterator[bytes]) -> GitCall:
    return GitCall("POST", "git-upload-pack", None, "version=2", "", body)


async def endless(ended: asyncio.Event) -> AsyncGenerator[bytes, None]:
    try:
        while True:
            yield b"x" * 65536
    finally:
        ended.set()


async def test_a_workspace_that_never_reads_stalls_only_itself(gateway: GitGateway) -> None:
    held: list[GitAnswer] = []

    async def take(workspace_id: WorkspaceId) -> None:
        held.append(await gateway.answer(workspace_id, asking(once(LISTING))))

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        waiting = [group.create_task(take(WORKSPACE), name="take") for _ in range(20)]
        while len(held) < 4:
            await asyncio.sleep(0)
        await take(OTHER)
        assert len(held) == 5
        for task in waiting:
            task.cancel()
    async with asyncio.timeout(30):
        for answer in held:
            assert b"refs/heads/main" in b"".join([chunk async for chunk in answer.chunks])
        await take(WORKSPACE)
        await held[-1].chunks.aclose()


async def test_a_request_that_does_not_arrive_is_cut_and_gives_its_slot_back(gateway: GitGateway) -> None:
    for _ in range(5):
        async with asyncio.timeout(10):
            with pytest.raises(ServiceError, match="did not arrive within") as cut:
                await gateway.answer(WORKSPACE, asking(silent()))
        assert cut.value.code is ErrorCode.TIMEOUT


async def test_a_request_above_eight_mebibytes_is_too_large(gateway: GitGateway) -> None:
    with pytest.raises(ServiceError) as cut:
        await gateway.answer(WORKSPACE, asking(once(*[b"0" * 1024 * 1024] * 9)))
    assert cut.value.code is ErrorCode.TOO_LARGE


async def test_a_sandbox_that_takes_nothing_is_dropped() -> None:
    ours, theirs = socket.socketpair()
    ended = asyncio.Event()
    with theirs:
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        client = Client(reader, writer)
        client.http.receive_data(b"GET http://git.moorage/ HTTP/1.1\r\nHost: git.moorage\r\n\r\n")
        await client.event()
        async with asyncio.timeout(10):
            with pytest.raises(TimeoutError):
                await send_stream(client, "text/plain", endless(ended), Counter(), stall_s=0.2)
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    assert ended.is_set()


async def test_a_client_of_the_public_face_that_takes_nothing_is_dropped() -> None:
    ended = asyncio.Event()

    async def never() -> dict[str, object]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: object) -> None:
        await never()

    response = GitResponse(GitAnswer("text/plain", endless(ended)), stall_s=0.1)
    async with asyncio.timeout(10):
        await anext(response.body_iterator.__aiter__())
        await response({"type": "http", "path": "/git"}, never, send)
    assert ended.is_set()
