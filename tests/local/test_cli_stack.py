"""Commands on this machine, and what `up` says of a stack that answers."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.local import cli_stack, ledger
from services.local.__main__ import main
from services.local.cli_settings import Server, running_server
from services.local.cli_terminal import Terminal
from services.local.home import Home
from services.local.model_settings import digests
from services.local.processes import Process
from tests.local.conftest import OrchestratorDouble

COMMANDS = ["run", "ps", "show", "logs", "diff", "apply", "cancel", "up", "down", "doctor", "mcp"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("MOORAGE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MOORAGE_URL", raising=False)
    return Home.find()


def test_down_says_that_nothing_ran(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["down"]) == 0
    assert capsys.readouterr() == ("", f"nothing ran in {home.path}\n")


def test_a_home_that_cannot_be_one_is_a_sentence(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.path.write_text("a file")
    assert main(["up", "--detach"]) == 69
    said = capsys.readouterr().err
    assert said.startswith("moorage: ")
    assert "is not a directory; set MOORAGE_HOME to another path." in said


def test_doctor_prints_each_check_and_fails_when_one_does(
    home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPT_OSS_URL", "http://127.0.0.1:1")
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "ok    git" in out
    assert "fail  model" in out
    assert "try: start that server" in out
    assert main(["doctor", "--json"]) == 1
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["model"]["state"] == "fail"
    assert str(home.path) in checks["home"]["detail"]


def test_up_tells_each_part_the_token_and_the_model(orchestrator: OrchestratorDouble, tmp_path: Path) -> None:
    server = Server(orchestrator.url, None, Home(tmp_path))
    assert cli_stack.status_lines(server, Terminal()) == [
        "model       ok       a model",
        "runtime     degraded no isolation",
        f"token       {tmp_path}/token",
        "model: gpt-oss-20b at http://model/v1 (GPT_OSS_URL is set)",
    ]


def test_a_ledger_counts_only_while_its_supervisor_lives(home: Home) -> None:
    home.prepare()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        supervisor = Process.find(process.pid)
        assert supervisor is not None
        entry = {"pid": supervisor.pid, "started": supervisor.started}
        home.stack_file.write_text(json.dumps({"address": "http://127.0.0.1:1", "supervisor": entry}))
        assert running_server(home) == Server("http://127.0.0.1:1", home.token, home)
        process.communicate(b"\n", timeout=10)
    assert running_server(home) is None


def test_a_warm_stack_with_other_model_settings_is_said_on_stderr_and_a_missing_one_is_not(
    home: Home, orchestrator: OrchestratorDouble, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MOORAGE_URL")
    for name in ("GPT_OSS_URL", "LLM_API_KEY", "ORCHESTRATOR_MODEL"):
        monkeypatch.delenv(name, raising=False)
    me = Process.find(os.getpid())
    assert me is not None
    home.prepare()
    ledger.Ledger(
        version="1",
        supervisor=ledger.Entry(pid=me.pid, started=me.started),
        address=orchestrator.url,
        port=1,
        hub_port=2,
        runtime="process",
        database="embedded",
        model=digests(home, {"GPT_OSS_URL": "http://one", "LLM_API_KEY": "very-secret"}),
        since=datetime.now(UTC),
        ready=True,
    ).write(home)
    assert "very-secret" not in home.stack_file.read_text()
    told = (
        "warning: the stack was started with other model settings; "
        "./moorage down first, then run again to use GPT_OSS_URL\n"
    )
    for url, expected in ((None, ""), ("http://one", ""), ("http://two", told)):
        if url:
            monkeypatch.setenv("GPT_OSS_URL", url)
        orchestrator.will_succeed()
        assert main(["run", "q", "--quiet"]) == 0
        assert capsys.readouterr().err == expected
        assert main(["up", "--detach"]) == 0
        assert capsys.readouterr().err == f"the stack is up already\n{expected}"


def test_a_ledger_that_is_none_counts_as_no_stack(home: Home) -> None:
    home.prepare()
    for content in ("", "[]", '{"supervisor": 3}', '{"address": "x", "supervisor": {"pid": "y", "started": ""}}'):
        home.stack_file.write_text(content)
        assert running_server(home) is None


def test_help_names_every_command_and_each_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    assert [command for command in COMMANDS if f"\n  {command} " not in listed] == []
    assert "./moorage test" in listed
    assert "..." not in listed.partition("Commands:")[2]
    for command in COMMANDS:
        assert main([command, "--help"]) == 0
        assert f"Examples:\n    ./moorage {command}" in capsys.readouterr().out


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.split()[0] == "moorage"


def test_the_command_line_is_imported_without_the_heavy_libraries() -> None:
    heavy = ["pydantic", "httpx", "fastapi", "psycopg", "rich", "asyncio"]
    program = f"import sys, services.local.__main__; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "[]\n"
