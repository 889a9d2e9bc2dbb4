"""Commands on tasks that exist, against a real server."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from services.local.__main__ import main
from tests.local.conftest import WORKSPACE, OrchestratorDouble, event

PATCH = b"diff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -1 +1 @@\n-x\r\n+\xff\x1b[2J\n\\ No newline at end of file\n"


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOORAGE_HOME", str(tmp_path / "home"))


def test_ps_lists_open_tasks_of_every_page(
    orchestrator: OrchestratorDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    running = [orchestrator.will(status="running").id for _ in range(3)]
    orchestrator.will(status="succeeded")
    assert main(["ps"]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["TASK", "AGE", "STATUS", "REPOSITORY", "QUERY"]
    assert sorted(row.split()[0] for row in rows) == sorted(task_id[:8] for task_id in running)
    assert rows[0].split()[-4:] == ["owner/name", "Fix", "the", "roof"]


def test_ps_all_has_the_ended_ones_too_and_json_is_json(
    orchestrator: OrchestratorDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    scripts = [orchestrator.will(status=status) for status in ("running", "failed", "succeeded")]
    assert main(["ps", "-a", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {task["task_id"] for task in listed} == {script.id for script in scripts}


@pytest.mark.parametrize(("arguments", "hint"), [(["ps"], "ps -a"), (["ps", "-a"], "begin with: ./moorage run")])
def test_an_empty_list_says_what_to_do(
    orchestrator: OrchestratorDouble, capsys: pytest.CaptureFixture[str], arguments: list[str], hint: str
) -> None:
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert hint in captured.err
    assert orchestrator.asked


def test_show_tells_all_of_a_task_by_its_prefix(
    orchestrator: OrchestratorDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {
        "files": [{"path": "a.py", "status": "modified", "added": 3, "removed": 1}],
        "base": {"commit": "c" * 40, "from": "workspace", "behind": 2},
    }
    script = orchestrator.will_succeed("The answer.", status="succeeded", result={"changes": changes})
    assert main(["show", script.id[:4].upper()]) == 0
    out = capsys.readouterr().out
    assert script.id in out
    assert "M a.py  +3 -1" in out
    assert "cccccccccc (workspace, 2 behind upstream)" in out
    assert "Fix the roof" in out
    assert out.endswith("\n\nThe answer.\n")


def test_show_json_is_the_servers_answer(orchestrator: OrchestratorDouble, capsys: pytest.CaptureFixture[str]) -> None:
    script = orchestrator.will_succeed(status="succeeded", result={"field_of_the_future": 1})
    assert main(["show", script.id, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == script.body()


def test_a_prefix_must_be_long_enough_known_and_of_one_task(
    orchestrator: OrchestratorDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    for last in "12":
        orchestrator.will(id=f"abcd0000-0000-4000-8000-00000000000{last}")
    for text, said in [("abc", "too short"), ("abcd", "more than one task"), ("ffff", "No task begins with 'ffff'")]:
        assert main(["show", text]) == 2
        assert said in capsys.readouterr().err
    assert main(["show", "abcd0000-0000-4000-8000-000000000009"]) == 2
    assert "There is no such task" in capsys.readouterr().err


def test_diff_piped_is_the_patch_byte_for_byte(orchestrator: OrchestratorDouble) -> None:
    script = orchestrator.will(patch=PATCH)
    argv = [sys.executable, "-m", "services.local", "diff", script.id]
    done = subprocess.run(argv, capture_output=True, timeout=20, check=False, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stdout, done.stderr) == (0, PATCH, b"")


def test_logs_print_the_whole_log_of_a_task_that_still_runs(
    orchestrator: OrchestratorDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    script = orchestrator.will_succeed()
    script.events.pop()
    assert main(["logs", script.id]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == [
        "task.queued",
        "task.started",
        "container.ready",
        "workspace.ready",
        "tool.intent",
        "tool.result",
    ]
    assert lines[1].endswith("model: gpt-oss-20b at http://model/v1 (GPT_OSS_URL is set)")
    assert lines[4].endswith("exec git ls-files")
    assert lines[5].endswith("ok 0.2 s exec: README.md")


def test_logs_followed_end_with_the_task(orchestrator: OrchestratorDouble, capsys: pytest.CaptureFixture[str]) -> None:
    script = orchestrator.will_succeed()
    script.events.insert(6, event(0, "model.delta", text="live"))
    assert main(["logs", "-f", script.id]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert lines[-1].endswith("succeeded It is a harbour.")


def test_logs_of_a_container_are_what_it_wrote(
    orchestrator: OrchestratorDouble, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["logs", "ws-0123"]) == 0
    assert capfdbinary.readouterr().out == b"agent is up\n"
    assert main(["logs", f"ws-{'f' * 20}"]) == 2
    assert capfdbinary.readouterr().err == b"moorage: There is no such container.\n"
    assert orchestrator.url


def test_cancel_asks_the_server_and_says_the_outcome(
    orchestrator: OrchestratorDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    script = orchestrator.will(status="running")
    assert main(["cancel", script.id[:8]]) == 0
    assert capsys.readouterr().err == f"{script.id[:8]} is cancelled\n"
    assert orchestrator.cancelled == [script.id]
    assert main(["cancel", script.id]) == 1
    assert "has already ended" in capsys.readouterr().err


def test_mcp_prints_an_address_a_grant_and_a_ready_configuration(
    orchestrator: OrchestratorDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mcp", WORKSPACE]) == 0
    address, header, rest = capsys.readouterr().out.split("\n", 2)
    assert address == f"URL: http://hub/ws/{WORKSPACE}/mcp"
    assert header == "Authorization: Bearer granted"
    (server,) = json.loads(rest)["mcpServers"].values()
    assert server["url"] == f"http://hub/ws/{WORKSPACE}/mcp"
    assert server["headers"] == {"Authorization": "Bearer granted"}
    assert orchestrator.url


def test_without_a_stack_a_command_says_how_to_start_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MOORAGE_URL", raising=False)
    assert main(["ps"]) == 69
    assert "start one with `./moorage up --detach`" in capsys.readouterr().err
