"""`run` as a person types it: a real process, real signals, a real server whose tasks follow a script."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.local.__main__ import main
from tests.local.conftest import DROP, HOLD, MODEL, OrchestratorDouble, event

LIMIT_S = 20


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOORAGE_HOME", str(tmp_path / "home"))
    place = tmp_path / "elsewhere"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "services.local", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )


def run(*arguments: str) -> tuple[int, str, str]:
    with start(*arguments) as process:
        out, err = process.communicate(timeout=LIMIT_S)
    return process.returncode, out, err


def test_the_answer_is_all_of_stdout_and_the_model_is_the_first_line_of_stderr(
    orchestrator: OrchestratorDouble,
) -> None:
    orchestrator.will_succeed()
    code, out, err = run("run", "What is this?", "--repo", "https://host/owner/name")
    assert (code, out) == (0, "It is a harbour.\n")
    lines = err.splitlines()
    assert lines[0] == "model: gpt-oss-20b at http://model/v1 (GPT_OSS_URL is set)"
    assert "✓ exec git ls-files  0.2 s" in lines
    assert lines[-1].startswith("succeeded in 1.5 s · 2 steps · 1,000 tokens")
    assert "\x1b" not in err
    assert "warning" not in err


def test_the_request_carries_what_was_typed_and_the_token(orchestrator: OrchestratorDouble, tmp_path: Path) -> None:
    orchestrator.will_succeed()
    (tmp_path / "elsewhere" / "clone").mkdir()
    options = "--ref main --files a.py -f b.py --deliver answer --model m --max-steps 3 --timeout 60 --start fresh"
    assert main(["run", "Do it", "-r", "clone", "-q", *options.split()]) == 0
    assert orchestrator.posted == [
        {
            "query": "Do it",
            "repo_url": str(tmp_path / "elsewhere" / "clone"),
            "ref": "main",
            "files": ["a.py", "b.py"],
            "deliver": "answer",
            "model": "m",
            "max_steps": 3,
            "timeout_s": 60,
            "start": "fresh",
            "mode": "async",
        }
    ]
    assert {headers["authorization"] for _, _, headers in orchestrator.asked} == {"Bearer secret-token"}


def test_quiet_prints_the_answer_only(orchestrator: OrchestratorDouble, capsys: pytest.CaptureFixture[str]) -> None:
    orchestrator.will_succeed()
    assert main(["run", "q", "--quiet"]) == 0
    assert capsys.readouterr() == ("It is a harbour.\n", "")


def test_missing_isolation_is_said_even_when_quiet(
    orchestrator: OrchestratorDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    ready = event(2, "container.ready", runtime="process", isolation="none", why="bubblewrap is not installed")
    finished = event(3, "task.finished", status="succeeded")
    orchestrator.will(event(1, "task.started", model=MODEL), ready, finished)
    assert main(["run", "q", "--quiet"]) == 0
    assert "without isolation (bubblewrap is not installed)" in capsys.readouterr().err


def test_a_broken_connection_is_taken_up_after_the_last_event(orchestrator: OrchestratorDouble) -> None:
    script = orchestrator.will_succeed()
    script.events[2:2] = [DROP]
    script.events[5:5] = [DROP]
    script.events.insert(3, event(0, "model.delta", text="thin"))
    code, out, _ = run("run", "q", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [line["seq"] for line in lines[:-1] if line["seq"]] == [1, 2, 3, 4, 5, 6, 7]
    assert [line["kind"] for line in lines if line.get("seq") == 0] == ["model.delta"] * 2
    assert (lines[-1]["task_id"], lines[-1]["status"]) == (script.id, "succeeded")
    followed = [headers.get("last-event-id") for _, path, headers in orchestrator.asked if path.endswith("/events")]
    assert followed == [None, "2", "4"]


def test_a_stream_that_has_ended_while_away_is_no_error(
    orchestrator: OrchestratorDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    orchestrator.will(event(1, "task.queued"), DROP, status="succeeded", result={"answer": "Done before."})
    assert main(["run", "q", "-q"]) == 0
    assert capsys.readouterr().out == "Done before.\n"


@pytest.mark.parametrize(
    ("code", "expected"),
    [("internal", 1), ("step_limit", 1), ("timeout", 124), ("repository_forbidden", 77)],
)
def test_a_failed_task_ends_with_the_code_of_its_error(
    orchestrator: OrchestratorDouble, capsys: pytest.CaptureFixture[str], code: str, expected: int
) -> None:
    failed = event(1, "task.finished", status="failed")
    orchestrator.will(failed, result={"error": {"code": code, "message": "It broke; try again."}})
    assert main(["run", "q"]) == expected
    assert "failed: It broke; try again.\n" in capsys.readouterr().err


def test_a_task_that_failed_without_a_model_says_what_the_server_knows_of_it(
    orchestrator: OrchestratorDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    orchestrator.model_facts = {}
    failed = event(1, "task.finished", status="failed")
    orchestrator.will(failed, result={"error": {"code": "model_unreachable", "message": "Nobody answers."}})
    assert main(["run", "q"]) == 1
    assert capsys.readouterr().err.splitlines()[:2] == ["model: a model", "failed: Nobody answers."]


@pytest.mark.parametrize(
    ("repository", "behind", "said"),
    [
        (".", 1, ", 1 commit behind upstream; your newer edits are not in it; --start fresh sets them aside"),
        (".", 0, "; your newer edits are not in it; --start fresh sets them aside"),
        ("https://host/owner/name", 2, ", 2 commits behind upstream (--start fresh sets them aside)"),
    ],
)
def test_undelivered_changes_are_said_to_be_gone_on_with(
    orchestrator: OrchestratorDouble, capsys: pytest.CaptureFixture[str], repository: str, behind: int, said: str
) -> None:
    base = {"commit": "a" * 40, "from": "workspace", "behind": behind}
    finished = event(2, "task.finished", status="succeeded")
    orchestrator.will(event(1, "workspace.ready", base=base), finished)
    assert main(["run", "q", "--repo", repository]) == 0
    assert f"  goes on with undelivered changes of an earlier task{said}\n" in capsys.readouterr().err


def test_a_short_form_of_an_address_is_left_to_the_server(orchestrator: OrchestratorDouble) -> None:
    orchestrator.will_succeed()
    assert main(["run", "q", "-q", "--repo", "host:owner/name"]) == 0
    assert orchestrator.posted[0]["repo_url"] == "host:owner/name"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [["run", "q", "-q"], ["run", "q", "--json"], ["diff", "TASK"], ["--help"]])
def test_a_full_disk_behind_standard_output_is_one_sentence(
    orchestrator: OrchestratorDouble, arguments: list[str]
) -> None:
    script = orchestrator.will_succeed(patch=b"diff")
    argv = [sys.executable, "-m", "services.local", *(script.id if word == "TASK" else word for word in arguments)]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 1
    assert done.stderr == "moorage: Standard output cannot be written (No space left on device).\n"


def test_an_approval_ends_with_needs_input(
    orchestrator: OrchestratorDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    orchestrator.will(event(1, "approval.requested"), HOLD, status="waiting")
    assert main(["run", "q"]) == 4
    assert "waits for an approval" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [(401, "unauthenticated", 77), (422, "invalid_field", 2), (429, "too_many_requests", 69), (500, "internal", 1)],
)
def test_a_refused_request_is_one_sentence_of_the_server(
    orchestrator: OrchestratorDouble, capsys: pytest.CaptureFixture[str], status: int, code: str, expected: int
) -> None:
    orchestrator.refusal = (status, {"error": {"code": code, "message": "Do this instead.", "request_id": None}})
    assert main(["run", "q"]) == expected
    assert capsys.readouterr() == ("", "moorage: Do this instead.\n")


def test_an_error_that_is_not_ours_is_named_by_its_status(
    orchestrator: OrchestratorDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    orchestrator.refusal = (503, {"detail": "?"})
    assert main(["run", "q"]) == 69
    assert "answered 503 Service Unavailable to /orchestrate" in capsys.readouterr().err


def test_a_server_that_is_not_there_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("MOORAGE_URL", f"http://127.0.0.1:{port}")
    code, out, err = run("run", "q")
    assert (code, out) == (69, "")
    assert err == f"moorage: Nobody answers at http://127.0.0.1:{port}; check MOORAGE_URL.\n"


def test_an_address_with_a_password_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, orchestrator: OrchestratorDouble
) -> None:
    monkeypatch.setenv("MOORAGE_URL", "http://user:secret@127.0.0.1:1")
    code, _, err = run("run", "q")
    assert code == 2
    assert "MOORAGE_URL is not an address" in err
    assert "secret@" not in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "  "],
        ["run", "q", "--repo", "./nothing-here"],
        ["run", "q", "--repo", "nothing-here"],
        ["run", "q", "--repo", "owner/name"],
        ["run", "q", "--max-steps", "0"],
        ["run", "q", "--deliver", "cake"],
        ["run", "q", "--apply"],
        ["run", "q", "--apply", "--detach", "-r", "https://host/owner/name"],
        ["run", "q", "--apply", "-r", "https://host/owner/name"],
        ["run", "q", "--out", "/dev/null/here"],
        ["sail"],
    ],
)
def test_a_mistyped_command_is_refused_before_anything_is_sent(
    orchestrator: OrchestratorDouble, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err
    assert orchestrator.asked == []


def test_the_query_is_read_from_standard_input(orchestrator: OrchestratorDouble) -> None:
    orchestrator.will_succeed()
    argv = [sys.executable, "-m", "services.local", "run", "-", "-q"]
    done = subprocess.run(argv, input="Weigh ⚓\n".encode(), capture_output=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0
    assert orchestrator.posted[0]["query"] == "Weigh ⚓\n"


def test_detach_prints_the_task_and_leaves(
    orchestrator: OrchestratorDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    script = orchestrator.will(HOLD)
    assert main(["run", "q", "--detach"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{script.id}\n"
    assert f"logs -f {script.id[:8]}" in captured.err


def test_a_work_tree_around_us_is_hinted_at_and_not_used(
    orchestrator: OrchestratorDouble, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    orchestrator.will_succeed()
    (tmp_path / ".git").mkdir()
    assert main(["run", "q"]) == 0
    assert "add --repo ." in capsys.readouterr().err.splitlines()[1]
    assert "repo_url" not in orchestrator.posted[0]


def test_out_writes_the_result_the_answer_the_patch_and_the_events(
    orchestrator: OrchestratorDouble, tmp_path: Path
) -> None:
    change = {"path": "a", "status": "modified", "added": 1, "removed": 1}
    script = orchestrator.will_succeed(patch=b"diff --git a/a b/a\xff\n", result={"changes": {"files": [change]}})
    assert main(["run", "q", "-q", "--out", str(tmp_path / "new" / "out")]) == 0
    folder = tmp_path / "new" / "out"
    assert json.loads((folder / "result.json").read_text())["task_id"] == script.id
    assert (folder / "answer.md").read_text() == "It is a harbour.\n"
    assert (folder / "changes.patch").read_bytes() == script.patch
    assert len((folder / "events.jsonl").read_text().splitlines()) == 7


def test_ctrl_c_cancels_the_task_on_the_server(orchestrator: OrchestratorDouble) -> None:
    finished = event(2, "task.finished", status="cancelled")
    script = orchestrator.will(event(1, "task.started", model=MODEL), HOLD, finished)
    with start("run", "q") as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("model: ")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, out) == (130, "")
    assert orchestrator.cancelled == [script.id]
    assert "Traceback" not in err


def test_a_second_ctrl_c_leaves_at_once(orchestrator: OrchestratorDouble) -> None:
    orchestrator.will(event(1, "task.started", model=MODEL), HOLD, stubborn=True)
    with start("run", "q") as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("model: ")
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline().startswith("cancelling ")
        assert orchestrator.heard["cancel"].wait(LIMIT_S)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    assert "the task may go on" in err
    assert "Traceback" not in err


def test_ctrl_c_before_the_task_has_an_id_still_cancels_it(orchestrator: OrchestratorDouble) -> None:
    script = orchestrator.will(event(1, "task.queued"), HOLD, event(2, "task.finished", status="cancelled"))
    orchestrator.gate.clear()
    with start("run", "q") as process:
        assert orchestrator.heard["post"].wait(LIMIT_S)
        process.send_signal(signal.SIGINT)
        orchestrator.gate.set()
        process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    assert orchestrator.cancelled == [script.id]


def test_a_reader_that_goes_away_is_no_traceback(orchestrator: OrchestratorDouble) -> None:
    finished = event(3, "task.finished", status="succeeded")
    orchestrator.will(event(1, "task.started", model=MODEL), HOLD, event(2, "model.turn", text="t"), finished)
    with start("run", "q", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        orchestrator.scripts[0].status = "succeeded"
        err = process.stderr.read()
        process.wait(LIMIT_S)
    assert (process.returncode, err) == (141, "")


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ends = pty.openpty()
    yield ends
    for end in ends:
        os.close(end)


def read_terminal(end: int, until: bytes) -> bytes:
    seen = b""
    while until not in seen:
        seen += os.read(end, 65536)
    return seen


def test_on_a_terminal_there_is_a_spinner_and_no_foreign_control_sequence(
    orchestrator: OrchestratorDouble, terminal: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    ours, theirs = terminal
    call = {"id": "c", "name": "exec", "arguments": '{"command": "sleep \\u001b]0;owned\\u0007"}'}
    script = orchestrator.will(
        event(1, "tool.intent", call=call),
        HOLD,
        event(2, "tool.result", call_id="c", name="exec", ok=False, text="\x1b[2Jgone", seconds=1),
        event(3, "task.finished", status="succeeded"),
        result={"answer": "bold\x1b[1m"},
    )
    argv = [sys.executable, "-m", "services.local", "run", "q"]
    with subprocess.Popen(argv, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL) as process:
        before = read_terminal(ours, "⠋ exec sleep".encode())
        script.status = "succeeded"
        after = read_terminal(ours, b"tokens")
        process.wait(LIMIT_S)
    assert b"\x1b]0" not in before + after
    assert b"\x1b[2J" not in after
    assert b"bold\xef\xbf\xbd[1m" in after
    assert "\x1b[31m✗\x1b[0m".encode() in after
