"""The MCP endpoint through the official client, in every era of the protocol."""

import asyncio
import gzip
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from mcp import MCPError
from mcp.types import INVALID_PARAMS, CallToolResult
from starlette.responses import Response, StreamingResponse

from services.chassis.errors import ServiceError
from services.mcp_hub.mcp_face import ERROR_META
from services.wire.agent import (
    Entry,
    ExecReply,
    ListReply,
    Match,
    PatchReply,
    ReadReply,
    SearchReply,
    TextReply,
    WriteReply,
)
from services.wire.errors import ErrorCode
from services.wire.hub import AgentAddress
from services.wire.tasks import FileChange
from tests.mcp_hub.support import OTHER, TASK, WORKSPACE, FakeAgent, FakeOrchestrator, Hub, StartHub

MODES = ("auto", "legacy", "2026-07-28")


def text(result: CallToolResult) -> str:
    return "".join(block.text for block in result.content if block.type == "text")


@pytest.mark.parametrize("mode", MODES)
async def test_any_client_lists_and_calls_the_tools_with_a_grant(mode: str, hub: Hub, agent: FakeAgent) -> None:
    entries = [Entry(path="README.md", type="file"), Entry(path="src", type="directory")]
    agent.replies["/files/list"] = ListReply(entries=entries)
    async with asyncio.timeout(20), hub.client(mode, agent=agent.address, run_no=4, task_id=TASK) as client:
        listed = await client.list_tools()
        result = await client.call_tool("filesystem__list_directory", {"depth": 2})
    assert [tool.name for tool in listed.tools] == [
        "filesystem__list_directory",
        "filesystem__read_file",
        "filesystem__write_file",
        "filesystem__search",
        "filesystem__apply_patch",
        "git__status",
        "git__diff",
        "git__log",
        "git__show",
        "shell__exec",
    ]
    assert text(result) == "README.md\nsrc/"
    assert result.structured_content["entries"][1]["type"] == "directory"
    assert agent.asked == [("/files/list", {"path": ".", "depth": 2}, "4")]


async def test_tools_have_strict_schemas_and_honest_hints(hub: Hub) -> None:
    async with asyncio.timeout(20), hub.client("auto") as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    for name, tool in tools.items():
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name)
        assert tool.input_schema["additionalProperties"] is False
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint is (name not in {"shell__exec", *WRITERS})
    assert tools["shell__exec"].input_schema["required"] == ["command"]
    assert tools["git__diff"].input_schema["properties"]["ref"]["type"] == "string"


WRITERS = {"filesystem__write_file", "filesystem__apply_patch"}


async def test_a_grant_shows_and_allows_only_its_tools(hub: Hub, agent: FakeAgent) -> None:
    async with asyncio.timeout(20), hub.client("auto", agent=agent.address, run_no=1, tools=["git__*"]) as client:
        listed = await client.list_tools()
        denied = await client.call_tool("shell__exec", {"command": "true"})
    assert {tool.name.split("__")[0] for tool in listed.tools} == {"git"}
    assert denied.is_error
    assert "does not allow shell__exec" in text(denied)
    assert agent.asked == []


async def test_listing_wakes_nobody(start_hub: StartHub, orchestrator: FakeOrchestrator, agent: FakeAgent) -> None:
    hub = start_hub(orchestrator=orchestrator.address)
    async with asyncio.timeout(20), hub.client("auto") as client:
        await client.list_tools()
    assert orchestrator.asked == []
    assert agent.asked == []


@pytest.mark.parametrize("mode", MODES)
async def test_an_unknown_tool_is_a_protocol_error_and_a_wrong_argument_a_result(mode: str, hub: Hub) -> None:
    async with asyncio.timeout(20), hub.client(mode, run_no=1, agent="unix:/nowhere") as client:
        await client.list_tools()
        with pytest.raises(MCPError) as unknown:
            await client.call_tool("shell__explode", {})
        extra = await client.call_tool("git__log", {"count": 3})
        missing = await client.call_tool("filesystem__read_file", {})
        wrong = await client.call_tool("shell__exec", {"command": "true", "timeout_s": -1})
    assert unknown.value.code == INVALID_PARAMS
    assert text(extra) == "Unknown argument 'count'; this tool takes: limit, path."
    assert text(missing) == "Argument 'path': field required."
    assert "'timeout_s'" in text(wrong)
    assert all(result.is_error for result in (extra, missing, wrong))


async def test_results_read_well(hub: Hub, agent: FakeAgent) -> None:
    agent.replies |= {
        "/files/read": ReadReply(path="a.py", text="x = 1\n", line_start=3, line_end=3, total_lines=9, bytes=60),
        "/files/write": WriteReply(path="a.py", bytes=5, created=True),
        "/search": SearchReply(matches=[Match(path="a.py", line=3, text="x = 1")], engine="ripgrep", truncated=True),
        "/patch": PatchReply(files=[FileChange(path="a.py", status="modified", added=1, removed=2)]),
        "/git/diff": TextReply(text=""),
        "/git/show": TextReply(text="commit 1\n", truncated=True),
        "/exec": ExecReply(
            status="exited", exit_code=2, output="boom\n", bytes=90, cwd="/w", seconds=0.1, spill="/tmp/out"
        ),
    }
    asked: dict[str, dict[str, Any]] = {
        "filesystem__read_file": {"path": "a.py", "line_start": 3, "line_end": 3},
        "filesystem__write_file": {"path": "a.py", "content": "x = 1"},
        "filesystem__search": {"query": "x"},
        "filesystem__apply_patch": {"patch": "*** Begin Patch\n*** End Patch"},
        "git__diff": {},
        "git__show": {"ref": "HEAD"},
        "shell__exec": {"command": "make"},
    }
    async with asyncio.timeout(20), hub.client("auto", agent=agent.address, run_no=1) as client:
        await client.list_tools()
        said = {name: text(await client.call_tool(name, arguments)) for name, arguments in asked.items()}
    assert said["filesystem__read_file"] == "[a.py: lines 3-3 of 9]\nx = 1\n"
    assert said["filesystem__write_file"] == "Created a.py (5 bytes)."
    assert said["filesystem__search"].startswith("a.py:3: x = 1\n[more matches")
    assert said["filesystem__apply_patch"] == "modified a.py (+1 -2)"
    assert said["git__diff"] == "No differences."
    assert said["git__show"] == "commit 1\n[the rest is not shown]"
    assert said["shell__exec"] == "boom\n[exit code 2]\n[the whole output, 90 bytes, is in /tmp/out]"


async def test_a_whole_file_comes_without_a_header_and_a_timeout_is_said(hub: Hub, agent: FakeAgent) -> None:
    agent.replies["/files/read"] = ReadReply(path="a", text="one\n", line_start=1, line_end=1, total_lines=1, bytes=4)
    agent.replies["/exec"] = ExecReply(status="timeout", exit_code=137, output="", bytes=0, cwd="/w", seconds=2)
    async with asyncio.timeout(20), hub.client("auto", agent=agent.address, run_no=1) as client:
        await client.list_tools()
        whole = await client.call_tool("filesystem__read_file", {"path": "a"})
        late = await client.call_tool("shell__exec", {"command": "sleep 9", "timeout_s": 2})
    assert text(whole) == "one\n"
    assert text(late) == "[timed out after 2s]"
    assert late.structured_content["exit_code"] == 137


async def test_long_text_and_large_data_are_capped(start_hub: StartHub, agent: FakeAgent) -> None:
    hub = start_hub(output_limit=2_000)
    body = "a" * 3_000 + "b" * 3_000
    agent.replies["/files/read"] = ReadReply(path="a", text=body, line_start=1, line_end=1, total_lines=1, bytes=6000)
    matches = [Match(path="a", line=n, text="hit") for n in range(200)]
    agent.replies["/search"] = SearchReply(matches=matches, engine="python")
    async with asyncio.timeout(20), hub.client("auto", agent=agent.address, run_no=1) as client:
        await client.list_tools()
        cut = text(await client.call_tool("filesystem__read_file", {"path": "a"}))
        found = await client.call_tool("filesystem__search", {"query": "hit"})
    assert len(cut) <= 2_000
    assert cut.startswith("aaaa")
    assert cut.endswith("bbbb")
    assert "4000 of 6000 characters cut here" in cut
    assert found.structured_content["truncated"] is True
    assert "matches" not in found.structured_content


@pytest.mark.parametrize("mode", MODES)
async def test_what_the_agent_refuses_is_an_error_result_with_its_words(mode: str, hub: Hub, agent: FakeAgent) -> None:
    agent.replies["/files/read"] = ServiceError(ErrorCode.STALE_RUN, "Run 3 is over; run 5 has taken over.")
    async with asyncio.timeout(20), hub.client(mode, agent=agent.address, run_no=3) as client:
        await client.list_tools()
        result = await client.call_tool("filesystem__read_file", {"path": "a"})
    assert result.is_error
    assert text(result) == "Run 3 is over; run 5 has taken over."
    assert (result.meta or {})[ERROR_META] == "stale_run"


async def test_an_agent_that_is_gone_is_an_error_result(hub: Hub, tmp_path: object) -> None:
    async with asyncio.timeout(20), hub.client("auto", agent=f"unix:{tmp_path}/gone.sock", run_no=3) as client:
        await client.list_tools()
        result = await client.call_tool("git__status", {})
    assert result.is_error
    assert "cannot be reached" in text(result)
    assert (result.meta or {})[ERROR_META] == "agent_unreachable"


async def test_a_call_beyond_its_time_is_an_error_result_and_leaves_the_agent(
    start_hub: StartHub, agent: FakeAgent
) -> None:
    hub = start_hub(call_timeout_s=0.3)
    agent.silent.add("/git/log")
    async with asyncio.timeout(20), hub.client("auto", agent=agent.address, run_no=1) as client:
        await client.list_tools()
        result = await client.call_tool("git__log", {})
    assert result.is_error
    assert "longer than 0.3 seconds" in text(result)
    assert await asyncio.to_thread(agent.abandoned.wait, 10)


async def test_an_agents_reply_is_bounded_in_size_and_time(start_hub: StartHub, agent: FakeAgent) -> None:
    hub = start_hub(call_timeout_s=1)
    bomb = gzip.compress(b'{"text": "' + b"a" * 100_000 + b'"}')

    async def drip() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.01)

    agent.replies["/git/log"] = TextReply(text="a" * 4 * 1024 * 1024)
    agent.replies["/git/diff"] = Response(bomb, headers={"Content-Encoding": "gzip"})
    agent.replies["/git/status"] = StreamingResponse(drip())
    async with asyncio.timeout(20), hub.client("auto", agent=agent.address, run_no=1) as client:
        await client.list_tools()
        large = await client.call_tool("git__log", {})
        encoded = await client.call_tool("git__diff", {})
        endless = await client.call_tool("git__status", {})
    assert (large.meta or {})[ERROR_META] == (encoded.meta or {})[ERROR_META] == "agent_unreachable"
    assert "more than 4,194,304 bytes" in text(large)
    assert (endless.meta or {})[ERROR_META] == "timeout"


async def test_a_command_may_take_the_time_it_asks_for(start_hub: StartHub, agent: FakeAgent) -> None:
    hub = start_hub(call_timeout_s=0.001)
    agent.replies["/exec"] = ExecReply(status="exited", exit_code=0, output="", bytes=0, cwd="/w", seconds=5)
    async with asyncio.timeout(20), hub.client("auto", agent=agent.address, run_no=1) as client:
        await client.list_tools()
        result = await client.call_tool("shell__exec", {"command": "make", "timeout_s": 5})
    assert text(result) == "[exit code 0]"


async def test_an_outside_client_reaches_the_agent_through_the_orchestrator(
    start_hub: StartHub, orchestrator: FakeOrchestrator, agent: FakeAgent
) -> None:
    hub = start_hub(orchestrator=orchestrator.address)
    agent.replies["/files/write"] = WriteReply(path="a", bytes=1, created=False)
    async with asyncio.timeout(20), hub.client("auto") as client:
        await client.list_tools()
        result = await client.call_tool("filesystem__write_file", {"path": "a", "content": "b"})
    assert text(result) == "Replaced a (1 bytes)."
    assert orchestrator.asked == [(f"/internal/workspaces/{WORKSPACE}/agent", "Bearer " + "s" * 48)]
    assert agent.asked[0][2] == "7"


async def test_an_outside_client_may_read_but_not_write_while_a_run_works(
    start_hub: StartHub, orchestrator: FakeOrchestrator, agent: FakeAgent
) -> None:
    hub = start_hub(orchestrator=orchestrator.address)
    orchestrator.reply = AgentAddress(address=agent.address, epoch=1, run_no=7, busy=True)
    agent.replies["/git/status"] = TextReply(text=" M a\n")
    async with asyncio.timeout(20), hub.client("auto") as client:
        await client.list_tools()
        read = await client.call_tool("git__status", {})
        write = await client.call_tool("shell__exec", {"command": "rm a"})
    assert text(read) == " M a\n"
    assert write.is_error
    assert (write.meta or {})[ERROR_META] == "workspace_busy"
    assert "wait until it ends" in text(write)


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
async def test_closing_the_request_cancels_the_call_on_the_agent(mode: str, hub: Hub, agent: FakeAgent) -> None:
    agent.silent.add("/exec")
    parameters: dict[str, object] = {"name": "shell__exec", "arguments": {"command": "sleep 60"}}
    headers = {"Authorization": f"Bearer {hub.grant(agent=agent.address, run_no=1)}"}
    headers |= {"Accept": "application/json, text/event-stream"}
    if mode == "2026-07-28":
        prefix = "io.modelcontextprotocol/"
        parameters["_meta"] = {f"{prefix}protocolVersion": mode, f"{prefix}clientCapabilities": {}}
        headers |= {"MCP-Protocol-Version": mode, "Mcp-Method": "tools/call", "Mcp-Name": "shell__exec"}
    else:
        headers["MCP-Protocol-Version"] = "2025-11-25"
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": parameters}
    async with asyncio.timeout(15), httpx.AsyncClient(trust_env=False) as http, asyncio.TaskGroup() as group:
        call = group.create_task(http.post(hub.endpoint(), json=body, headers=headers, timeout=15))
        assert await asyncio.to_thread(agent.waiting.wait, 10)
        assert not agent.abandoned.is_set()
        call.cancel()
        assert await asyncio.to_thread(agent.abandoned.wait, 10)
    lines = hub.audited("call", 1)
    assert [line["error"] for line in lines] == ["cancelled"]


async def test_every_call_is_audited_without_its_arguments(hub: Hub, agent: FakeAgent) -> None:
    agent.replies["/exec"] = ExecReply(status="exited", exit_code=0, output="ok", bytes=2, cwd="/w", seconds=0)
    async with asyncio.timeout(20), hub.client("auto", agent=agent.address, run_no=9, task_id=TASK) as client:
        await client.list_tools()
        await client.call_tool("shell__exec", {"command": "login --password hunter2"})
    (line,) = hub.audited("call", 1)
    assert (line["workspace"], line["task"], line["run_no"]) == (WORKSPACE, TASK, 9)
    assert (line["tool"], line["ok"], line["bytes"]) == ("shell__exec", True, len("ok\n[exit code 0]"))
    assert "hunter2" not in hub.audit_file.read_text()


def test_a_request_needs_a_grant_of_this_workspace(hub: Hub) -> None:
    def post(token: str | None, **headers: str) -> httpx.Response:
        sent = {"Accept": "application/json, text/event-stream", **headers}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        return httpx.post(hub.endpoint(), json=ping, headers=sent, trust_env=False)

    for token in (None, "nonsense", hub.grant(ttl_s=-5), "s" * 48):
        refused = post(token)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert refused.json()["error"]["code"] == "unauthenticated"
    foreign = post(hub.grant(OTHER))
    assert foreign.status_code == 403
    assert OTHER in foreign.json()["error"]["message"]
    assert post(hub.grant()).status_code == 200
    assert post(hub.grant(), Host="evil.example").status_code == 421
    assert post(hub.grant(), Origin="http://evil.example").status_code == 403


def test_health_names_the_parts(hub: Hub) -> None:
    health = httpx.get(f"{hub.url}/health", trust_env=False).json()
    assert health["status"] == "ok"
    assert set(health["parts"]) == {"mirror", "audit", "servers", "egress"}
    assert re.match(r"\d+\.\d+", health["parts"]["mirror"]["facts"]["git"])
    assert httpx.get(f"{hub.url}/ready", trust_env=False).status_code == 204
