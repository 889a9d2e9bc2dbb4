"""The tools through the real agent, from an MCP client to files on disk."""

import asyncio
import socket
from pathlib import Path

import httpx
import pytest

from services.agent.main import create
from services.agent.settings import Settings
from services.wire.agent import RUN_HEADER, OpenRequest
from tests.mcp_hub.support import WORKSPACE, Hub, Servers, git
from tests.mcp_hub.test_mcp import text

PATCH = """\
*** Begin Patch
*** Update File: README.md
@@
-# Sample
+# Better
*** End Patch"""


@pytest.fixture
def real_agent(tmp_path: Path, repository: Path, servers: Servers) -> str:
    made = Settings(workspace_id=WORKSPACE, root=tmp_path / "tree", home=tmp_path / "agent-home")
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(tmp_path / "real.sock"))
    start = OpenRequest(remote=f"file://{repository}", commit=git(repository, "rev-parse", "HEAD"))
    servers.start(create(made, protocols=("file",)), sock)
    transport = httpx.HTTPTransport(uds=str(tmp_path / "real.sock"))
    with httpx.Client(base_url="http://agent", transport=transport) as client:
        opened = client.post("/open", json=start.model_dump(), headers={RUN_HEADER: "1"}, timeout=20)
    assert opened.status_code == 200, opened.text
    return f"unix:{tmp_path}/real.sock"


async def test_a_client_reads_edits_and_runs_in_a_real_work_tree(hub: Hub, real_agent: str) -> None:
    async with asyncio.timeout(30), hub.client("auto", agent=real_agent, run_no=1) as client:
        await client.list_tools()

        async def call(name: str, **arguments: object) -> str:
            result = await client.call_tool(name, arguments)
            assert not result.is_error, text(result)
            return text(result)

        listed = await call("filesystem__list_directory")
        assert {"README.md", "code.py"} <= set(listed.splitlines())
        assert await call("filesystem__read_file", path="README.md") == "# Sample\n"
        assert (await call("filesystem__search", query="print")).startswith("code.py:1: print(1)")
        assert "README.md" in await call("filesystem__apply_patch", patch=PATCH)
        assert "+# Better" in await call("git__diff")
        assert "README.md" in await call("git__status")
        assert "second" in await call("git__log", limit=1)
        assert "code.py" in await call("git__show", ref="HEAD")
        assert "Created" in await call("filesystem__write_file", path="new/file.txt", content="hi\n")
        assert await call("shell__exec", command="cat new/file.txt; exit 3") == "hi\n[exit code 3]"
        escaped = await client.call_tool("filesystem__read_file", {"path": "../../etc/passwd"})
        assert escaped.is_error
