"""What the documents say is true of the code: commands, settings, routes, links."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import typer.main

from services.local.cli import app
from services.orchestrator.main import build
from services.orchestrator.settings import Settings
from services.wire.errors import STATUS
from services.wire.events import EventKind
from services.wire.tasks import OrchestrateRequest, TaskStatus
from tests.docs import settings_table
from tests.system.conftest import ROOT, Stack, git

README = (ROOT / "README.md").read_text(encoding="utf-8")
API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
EXAMPLE = "/home/you/project"
ADDRESS = "127.0.0.1:8080"


def fenced(text: str, language: str) -> list[str]:
    """The code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def rows(text: str, head: str) -> list[list[str]]:
    """The rows of the table that begins with this heading line, cell by cell."""
    _, found, rest = text.partition(f"{head}\n")
    assert found, f"no table {head!r}"
    lines = rest.splitlines()[1:]
    return [line.strip("|").split("|") for line in lines[: next(i for i, line in enumerate(lines) if line[:1] != "|")]]


def lists_the_files(said: str, repository: Path) -> None:
    answer = json.loads(said)["answer"]
    listed = re.search(r"```\n(.*?)\n```", answer, re.DOTALL)
    assert listed is not None, said
    top = {path.split("/")[0] for path in git(repository, "ls-files").splitlines()}
    assert {line.rstrip("/") for line in listed[1].splitlines()} == top


def names_the_container(said: str, repository: Path) -> None:
    assert f"file://{repository}" in [found["repository"] for found in json.loads(said)["containers"]]


def tells_every_part(said: str, _: Path) -> None:
    assert set(json.loads(said)["parts"]) == {"database", "model", "hub", "runtime", "queue"}


def ends_with_the_result(said: str, repository: Path) -> None:
    last = said.replace("\r\n", "\n").strip().split("\n\n")[-1]
    assert last.startswith("event: result\ndata: {"), last
    assert '"status":"succeeded"' in last
    assert not (repository / "BUILT.txt").exists()


def brings_the_file(_: str, repository: Path) -> None:
    assert (repository / "BUILT.txt").read_text()
    assert git(repository, "status", "--porcelain") == "?? BUILT.txt\n"


IN_ORDER: list[Callable[[str, Path], None]] = [
    lists_the_files,
    names_the_container,
    tells_every_part,
    ends_with_the_result,
    brings_the_file,
]
"""What each of the README's blocks with curl must have done, in the order of the page."""


@pytest.mark.sandbox
@pytest.mark.curl
def test_the_curl_commands_work_as_written(stack: Stack, repository: Path) -> None:
    blocks = [block for block in fenced(README, "sh") if "curl -s" in block]
    assert len(blocks) == len(IN_ORDER)
    for block, check in zip(blocks, IN_ORDER, strict=True):
        command = block.replace(ADDRESS, f"127.0.0.1:{stack.port}").replace(EXAMPLE, str(repository))
        assert "8080" not in command
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command], capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), f"{command}\n{done.stdout}\n{done.stderr}"
        check(done.stdout, repository)


def test_every_command_and_option_of_the_table_exists_and_none_is_missing() -> None:
    commands = getattr(typer.main.get_command(app), "commands")  # noqa: B009 - a Group; typer types it as a Command
    told = {}
    for command, meaning in rows(README, "| Command | What it does |"):
        words = command.strip().strip("`").split()
        assert words[0] == "./moorage"
        told[words[1]] = set(re.findall(r"`(--[a-z-]+)`", meaning))
    # The launcher runs the tests before there is an environment to run the command line in.
    assert told.pop("test") == set()
    assert "scripts/test.sh" in (ROOT / "moorage").read_text(encoding="utf-8")
    real = {
        name: {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
        - {"--help"}
        for name, command in commands.items()
    }
    assert told == real


def test_the_table_of_settings_is_what_the_code_reads() -> None:
    found = settings_table.BETWEEN.search(README)
    assert found is not None, f"README.md has no {settings_table.BEGIN} … {settings_table.END}"
    if found[0] != settings_table.table():
        print(settings_table.table())
        pytest.fail("the table should be as printed above; python -m tests.docs.settings_table --write puts it there")


OF_THE_COMMAND_LINE = {"MOORAGE_HOME", "MOORAGE_PORT", "MOORAGE_URL", "MOORAGE_TOKEN"}


def test_the_example_environment_has_every_setting_a_user_decides_and_no_other() -> None:
    listed = re.findall(r"^#?([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(listed) == len(set(listed))
    decided = {setting.variable for setting in settings_table.settings() if not setting.given}
    assert set(listed) == decided | OF_THE_COMMAND_LINE


@pytest.mark.parametrize("name", sorted(OF_THE_COMMAND_LINE))
def test_the_command_lines_own_variables_are_read_and_told(name: str) -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "services" / "local").glob("*.py")]
    assert any(f'"{name}"' in source for source in sources)
    assert f"`{name}`" in README


def test_the_example_environment_can_be_read_by_a_shell() -> None:
    text = re.sub(r"^#(?=[A-Z])", "", (ROOT / ".env.example").read_text(encoding="utf-8"), flags=re.MULTILINE)
    done = subprocess.run(
        ["sh", "-euc", 'set -a; eval "$1"; printf %s "$MCP_HUB_ALLOWED_HOSTS"', "sh", text],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("localhost,localhost:*,127.0.0.1:*,[::1]:*", "")


def test_the_api_page_names_every_route_and_no_other() -> None:
    real = {
        (method.upper(), path) for path, methods in build(Settings()).openapi()["paths"].items() for method in methods
    }
    told = set(re.findall(r"`(GET|POST|PUT|DELETE|PATCH) (/[^`?\s]*)", API))
    assert told == real


@pytest.mark.parametrize("kind", list(EventKind))
def test_the_api_page_names_every_event(kind: EventKind) -> None:
    assert f"`{kind}`" in API


def test_the_api_page_names_every_field_status_and_error_with_its_http_status() -> None:
    assert {row[0].strip(" `") for row in rows(API, "| Field | Default | Meaning |")} == set(
        OrchestrateRequest.model_fields
    )
    for status in TaskStatus:
        assert f"`{status}`" in API
    told = {row[0].strip(" `"): int(row[1]) for row in rows(API, "| Code | HTTP | When |")}
    assert told == {str(code): int(status) for code, status in STATUS.items()}


def slugs(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in slugs(there), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_and_test_a_page_names_is_there(page: Path) -> None:
    """Paths in backticks that begin at the root, and `tests/x/test_y.py::test_z`."""
    text = page.read_text(encoding="utf-8")
    for path, test in re.findall(r"`((?:services|tests|scripts|docs)/[\w./-]+\.\w+)(?:::(\w+))?", text):
        assert (ROOT / path).is_file(), f"{page.name}: {path}"
        if test:
            assert re.search(rf"def {test}\(", (ROOT / path).read_text(encoding="utf-8")), (
                f"{page.name}: {path}::{test}"
            )
