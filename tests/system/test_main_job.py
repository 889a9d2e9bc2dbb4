"""The main job, from the command line and over HTTP, through every process of a real stack."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from services.orchestrator.domain import parse_repo_url
from tests.system.conftest import Stack, git
from tests.system.model_server import ModelServer


def test_run_answers_a_question_about_a_local_repository(stack: Stack, repository: Path) -> None:
    done = stack.cli("run", "What does this project do?", "--repo", str(repository))
    assert done.code == 0, done.err
    assert "predicts harbour tides" in done.out
    for entry in ("README.md", "pyproject.toml", "tidewater"):
        assert entry in done.out
    assert "offline" in done.err.splitlines()[0]


def test_the_listing_equals_what_git_lists_at_the_top_level(stack: Stack, repository: Path) -> None:
    result = stack.orchestrate(query="List files in current directory", repo_url=str(repository))
    fenced = re.search(r"```\n(.*?)\n```", result["answer"], re.DOTALL)
    assert fenced is not None
    listed = {line.rstrip("/") for line in fenced[1].splitlines()}
    assert listed == {path.split("/")[0] for path in git(repository, "ls-files").splitlines()}


def test_uncommitted_edits_of_a_local_repository_are_seen_and_left_alone(stack: Stack, repository: Path) -> None:
    (repository / "NEW.txt").write_text("untracked")
    (repository / "README.md").write_text("# Tidewater\n\nNow it predicts storms.\n")
    before = git(repository, "status", "--porcelain")
    assert "NEW.txt" in stack.orchestrate(query="List files", repo_url=str(repository))["answer"]
    assert "predicts storms" in stack.orchestrate(query="What does this do?", repo_url=str(repository))["answer"]
    assert git(repository, "status", "--porcelain") == before
    assert (
        git(repository, "for-each-ref") == f"{git(repository, 'rev-parse', 'HEAD').strip()} commit\trefs/heads/main\n"
    )


def test_a_warm_agent_is_reused(stack: Stack, repository: Path) -> None:
    first = stack.orchestrate(query="List files", repo_url=str(repository))
    second = stack.orchestrate(query="List files", repo_url=f"file://{repository}")
    assert first["workspace_id"] == second["workspace_id"]
    with stack.client() as client:
        container = client.get(f"/containers/{first['workspace_id']}").json()
    assert (container["state"], container["epoch"]) == ("running", 1)


def test_a_request_without_repository_gets_a_scratch_workspace(stack: Stack) -> None:
    result = stack.orchestrate(query="run `echo $((6 * 7))`")
    assert (result["status"], "42" in result["answer"]) == ("succeeded", True)
    other = stack.orchestrate(query="List files")
    assert other["workspace_id"] != result["workspace_id"]


def test_a_repository_is_fetched_at_the_wanted_ref(stack: Stack, repository: Path) -> None:
    git(repository, "checkout", "-q", "-b", "old")
    git(repository, "checkout", "-q", "main")
    (repository / "LATER.md").write_text("later")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "Later")
    assert "LATER.md" in stack.orchestrate(query="List files", repo_url=str(repository))["answer"]
    assert "LATER.md" not in stack.orchestrate(query="List files", repo_url=str(repository), ref="old")["answer"]


def test_the_stream_carries_every_event_and_ends_with_the_result(stack: Stack, repository: Path) -> None:
    body = {"query": "List files", "repo_url": str(repository), "mode": "stream"}
    with stack.client() as client:
        events = read_stream(client.post("/orchestrate", json=body).text)
        *stored, (last, number, result) = [event for event in events if event[0] != "model.delta"]
        assert (last, number, result["status"]) == ("result", None, "succeeded")
        assert [seq for _, seq, _ in stored] == list(range(1, len(stored) + 1))
        names = [name for name, _, _ in stored]
        assert names[0] == "task.queued"
        assert names[-1] == "task.finished"
        assert any(event[0] == "model.delta" for event in events)
        path = f"/tasks/{result['task_id']}/events"
        resumed = read_stream(client.get(path, headers={"Last-Event-ID": "3"}).text)
        assert [seq for _, seq, _ in resumed] == [seq for _, seq, _ in stored[3:]]
        assert client.get(path, params={"after": len(stored)}).status_code == 204
        as_json = client.get(path, headers={"Accept": "application/json"}).json()["events"]
        assert [event["seq"] for event in as_json] == [seq for _, seq, _ in stored]


def read_stream(text: str) -> list[tuple[str, int | None, Any]]:
    """Event name, id and data of each server-sent event."""
    events = []
    for block in text.replace("\r\n", "\n").strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            number = int(fields["id"]) if "id" in fields else None
            events.append((fields["event"], number, json.loads(fields["data"])))
    return events


def test_an_async_request_is_accepted_and_can_be_followed_and_listed(stack: Stack, repository: Path) -> None:
    with stack.client() as client:
        body = {"query": "List files", "repo_url": str(repository)}
        accepted = client.post("/orchestrate", json=body, headers={"Prefer": "respond-async"})
        assert accepted.status_code == 202
        task_id = accepted.json()["task_id"]
        assert accepted.headers["location"] == f"/tasks/{task_id}"
        client.get(f"/tasks/{task_id}/events")  # ends with the task
        assert client.get(f"/tasks/{task_id}").json()["status"] == "succeeded"
        page = client.get("/tasks", params={"workspace": accepted.json()["workspace_id"]}).json()
        assert [task["task_id"] for task in page["tasks"]] == [task_id]


def test_the_page_and_its_parts_are_served_and_lists_no_secret(stack: Stack) -> None:
    with stack.client() as client:
        page = client.get("/")
        assert "text/html" in page.headers["content-type"]
        assert "default-src 'self'" in page.headers["content-security-policy"]
        for part in ("/ui/app.js", "/ui/app.css", "/docs", "/openapi.json"):
            assert client.get(part).status_code == 200
        assert stack.token not in page.text


def test_health_names_every_part_and_why_the_model_was_chosen(stack: Stack) -> None:
    with stack.client() as client:
        health = client.get("/health").json()
    assert set(health["parts"]) == {"database", "model", "hub", "runtime", "queue"}
    assert "GPT_OSS_URL" in health["parts"]["model"]["detail"]
    assert all(part["state"] != "down" for part in health["parts"].values())


ADD = "*** Begin Patch\n*** Update File: tidewater/table.py\n@@\n-    return [c * 2 for c in constants]\n+    return [c * 3 for c in constants]\n*** Add File: tidewater/moon.py\n+PHASES = 8\n*** End Patch\n"  # noqa: E501


def test_an_edit_by_a_model_becomes_a_patch_that_applies(
    modelled: Stack, model: ModelServer, repository: Path, tmp_path: Path
) -> None:
    model.script(
        [("filesystem__read_file", {"path": "tidewater/table.py"})],
        [
            ("filesystem__apply_patch", {"patch": ADD}),
            ("shell__exec", {"command": "python3 -c 'import tidewater.moon'"}),
        ],
        "Tripled, and a moon.",
    )
    result = modelled.orchestrate(query="Triple it and add a moon", repo_url=str(repository))
    assert (result["status"], result["answer"]) == ("succeeded", "Tripled, and a moon.")
    changed = {
        change["path"]: (change["status"], change["added"], change["removed"]) for change in result["changes"]["files"]
    }
    assert changed == {"tidewater/table.py": ("modified", 1, 1), "tidewater/moon.py": ("added", 1, 0)}
    assert result["usage"]["steps"] == 3
    assert result["usage"]["input_tokens"] == 30
    with modelled.client() as client:
        patch = client.get(result["changes"]["patch_url"]).content
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(repository), str(clone))
    subprocess.run(["git", "-C", str(clone), "apply", "-"], input=patch, check=True)
    assert "c * 3" in (clone / "tidewater" / "table.py").read_text()
    assert (clone / "tidewater" / "moon.py").read_text() == "PHASES = 8\n"
    shown = next(m for m in model.requests[1]["messages"] if m["role"] == "tool")
    assert "return [c * 2" in shown["content"]


def test_apply_writes_the_result_into_the_local_repository(
    modelled: Stack, model: ModelServer, repository: Path
) -> None:
    model.script([("filesystem__write_file", {"path": "NOTE", "content": "hi\n"})], "Noted.")
    done = modelled.cli("run", "Leave a note", "--repo", str(repository), "--apply")
    assert done.code == 0, done.err
    assert (repository / "NOTE").read_text() == "hi\n"
    # What was applied is part of the user's tree now: the next run starts from it and reports no change of its own.
    model.script("Nothing to do.")
    result = modelled.orchestrate(query="And now?", repo_url=str(repository))
    assert result["changes"]["files"] == []
    assert result["changes"]["base"]["from"] == "fresh"


def test_what_the_user_does_after_taking_the_changes_is_seen(
    modelled: Stack, model: ModelServer, repository: Path
) -> None:
    model.script([("shell__exec", {"command": "echo 'Then drink tea.' >> README.md"})], "Tea.")
    assert modelled.cli("run", "Tea", "--repo", str(repository), "--apply").code == 0
    readme = repository / "README.md"
    readme.write_text(readme.read_text().replace("drink tea", "drink coffee") + "And cake.\n")
    git(repository, "commit", "-qam", "Coffee")
    model.script([("filesystem__read_file", {"path": "README.md"})], "Seen.")
    result = modelled.orchestrate(query="look", repo_url=str(repository))
    assert result["changes"]["base"]["from"] == "fresh"
    assert "And cake." in next(m["content"] for m in model.requests[1]["messages"] if m["role"] == "tool")


def test_undelivered_changes_are_continued_and_a_fresh_start_sets_them_aside(
    modelled: Stack, model: ModelServer, repository: Path
) -> None:
    model.script([("filesystem__write_file", {"path": "one", "content": "1\n"})], "One.")
    modelled.orchestrate(query="one", repo_url=str(repository))
    model.script([("filesystem__write_file", {"path": "two", "content": "2\n"})], "Two.")
    second = modelled.orchestrate(query="two", repo_url=str(repository))
    assert second["changes"]["base"]["from"] == "workspace"
    assert [change["path"] for change in second["changes"]["files"]] == ["one", "two"]
    model.script("Fresh.")
    third = modelled.orchestrate(query="three", repo_url=str(repository), start="fresh")
    assert (third["changes"]["base"]["from"], third["changes"]["files"]) == ("fresh", [])


def test_cancelling_ends_the_running_command_and_keeps_what_was_done(
    modelled: Stack, model: ModelServer, repository: Path
) -> None:
    model.script(
        [("filesystem__write_file", {"path": "kept", "content": "1\n"})],
        [("shell__exec", {"command": "touch began; sleep 300", "timeout_s": 600})],
    )
    with modelled.client() as client:
        body = {"query": "wait", "repo_url": str(repository), "mode": "async"}
        task = client.post("/orchestrate", json=body).json()
        with client.stream("GET", f"/tasks/{task['task_id']}/events") as events:
            for line in events.iter_lines():
                if '"sleep 300' in line or "sleep 300" in line:
                    assert client.post(f"/tasks/{task['task_id']}/cancel").json()["status"] == "running"
        result = client.get(f"/tasks/{task['task_id']}").json()
    assert (result["status"], result["error"]["code"]) == ("cancelled", "cancelled")
    assert "kept" in [change["path"] for change in result["changes"]["files"]]
    assert not running("sleep 300")


def running(text: str) -> bool:
    """Whether a process with this text in its command line is there."""
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return any(line.strip() == text for line in found.splitlines())


async def test_the_official_mcp_client_lists_and_calls_the_hubs_tools(stack: Stack, repository: Path) -> None:
    import httpx2

    workspace = stack.orchestrate(query="List files", repo_url=str(repository))["workspace_id"]
    with stack.client() as client:
        client.post(f"/containers/{workspace}/stop")
        grant = client.post(f"/workspaces/{workspace}/grant").json()
    headers = {"Authorization": f"Bearer {grant['token']}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as http,
        Client(streamable_http_client(grant["url"], http_client=http)) as mcp,
    ):
        names = {tool.name for tool in (await mcp.list_tools()).tools}
        assert {"filesystem__read_file", "git__log", "shell__exec"} <= names
        listed = await mcp.call_tool("filesystem__list_directory", {})
        assert "README.md" in listed.content[0].text  # type: ignore[union-attr]
        ran = await mcp.call_tool("shell__exec", {"command": "echo from outside"})
        assert "from outside" in ran.content[0].text  # type: ignore[union-attr]
    calls = [line for line in stack.audit() if line["kind"] == "call" and line["workspace"] == workspace]
    assert [line["tool"] for line in calls][-2:] == ["filesystem__list_directory", "shell__exec"]


def test_stopping_and_deleting_a_container(stack: Stack, repository: Path) -> None:
    workspace = stack.orchestrate(query="List files", repo_url=str(repository))["workspace_id"]
    assert workspace == parse_repo_url(str(repository)).workspace_id
    tree = stack.home / "workspaces" / workspace / "tree"
    with stack.client() as client:
        assert client.post(f"/containers/{workspace}/stop").json()["state"] == "stopped"
        assert (tree / "README.md").exists()
        assert stack.orchestrate(query="List files", repo_url=str(repository))["status"] == "succeeded"
        assert client.get(f"/containers/{workspace}").json()["epoch"] == 2
        assert client.delete(f"/containers/{workspace}").status_code == 204
        assert not tree.exists()
        assert client.get(f"/containers/{workspace}").status_code == 404
    assert stack.orchestrate(query="List files", repo_url=str(repository))["status"] == "succeeded"


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}])
def test_a_foreign_page_or_host_needs_the_token(stack: Stack, headers: dict[str, str]) -> None:
    with stack.client() as client:
        refused = client.get("/tasks", headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "unauthenticated")
        assert client.get("/tasks", headers={**headers, "Authorization": f"Bearer {stack.token}"}).status_code == 200
