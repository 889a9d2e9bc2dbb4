"""Which tool plays which role, whoever named it, and how its arguments are filled."""

from typing import Any

import pytest

from services.gpt_oss.offline.lookups import (
    GitDiff,
    GitLog,
    GitShow,
    GitStatus,
    Listing,
    Lookup,
    ReadFile,
    RunCommand,
    Search,
)
from services.gpt_oss.offline.tools import Tool, Toolbox
from tests.gpt_oss.hands import HUB_TOOLS

S, I = {"type": "string"}, {"type": "integer"}  # noqa: E741 - two schemas of a table


def tool(name: str, **properties: Any) -> Tool:
    return Tool(name, {"properties": properties, "required": list(properties)})


HUB = [Tool(spec["function"]["name"], spec["function"]["parameters"]) for spec in HUB_TOOLS]
TRAINED = [
    tool("exec", command={"type": "array", "items": S}),
    tool("print_tree", path=S, depth=I),
    tool("search", path=S, query=S),
    tool("open_file", path=S, line_start={"type": ["integer", "null"]}, line_end={"type": ["integer", "null"]}),
    tool("apply_patch", patch=S),
    tool("update_plan", plan=S),
]
REFERENCE = [
    tool("write_file", path=S, content=S),
    tool("read_multiple_files", paths={"type": "array"}),
    tool("read_text_file", path=S),
    tool("list_allowed_directories"),
    tool("list_directory_with_sizes", path=S),
    tool("list_directory", path=S),
    tool("git_diff_staged", repo_path=S),
    tool("git_diff", repo_path=S, target=S),
    tool("git_log", repo_path=S, max_count=I),
    tool("web_search", query=S),
]
CAMEL = [tool("readFile", file_path=S), tool("listFiles", directory=S), tool("runCommand", cmd=S)]


@pytest.mark.parametrize(
    ("tools", "lookup", "name", "arguments"),
    [
        (HUB, Listing("src", 3), "filesystem__list_directory", {"path": "src", "depth": 3}),
        (HUB, Listing(".", 50), "filesystem__list_directory", {"path": ".", "depth": 20}),
        (HUB, ReadFile("a.py"), "filesystem__read_file", {"path": "a.py"}),
        (HUB, ReadFile("a", 2, 9), "filesystem__read_file", {"path": "a", "line_start": 2, "line_end": 9}),
        (HUB, Search("x", limit=7), "filesystem__search", {"query": "x", "path": ".", "max_results": 7}),
        (HUB, GitLog(4), "git__log", {"limit": 4}),
        (HUB, GitDiff(), "git__diff", {}),
        (HUB, GitDiff("main", "a"), "git__diff", {"ref": "main", "path": "a"}),
        (HUB, GitStatus(), "git__status", {}),
        (HUB, GitShow(), "git__show", {"ref": "HEAD"}),
        (HUB, RunCommand("ls", 9), "shell__exec", {"command": "ls", "timeout_s": 9}),
        (TRAINED, RunCommand("ls"), "exec", {"command": ["bash", "-lc", "ls"]}),
        (TRAINED, Listing(), "print_tree", {"path": ".", "depth": 1}),
        (TRAINED, Search("x"), "search", {"query": "x", "path": "."}),
        (TRAINED, ReadFile("a"), "open_file", {"path": "a", "line_start": None, "line_end": None}),
        (REFERENCE, ReadFile("a"), "read_text_file", {"path": "a"}),
        (REFERENCE, Listing(), "list_directory", {"path": "."}),
        (REFERENCE, GitLog(4), "git_log", {"repo_path": ".", "max_count": 4}),
        (REFERENCE, GitDiff("main"), "git_diff", {"repo_path": ".", "target": "main"}),
        (CAMEL, ReadFile("a"), "readFile", {"file_path": "a"}),
        (CAMEL, Listing("b"), "listFiles", {"directory": "b"}),
        (CAMEL, RunCommand("c"), "runCommand", {"cmd": "c"}),
    ],
)
def test_a_lookup_becomes_a_call_of_the_tool_for_it(
    tools: list[Tool], lookup: Lookup, name: str, arguments: dict[str, Any]
) -> None:
    call = Toolbox(tools).call(lookup)
    assert call is not None
    assert (call.name, call.arguments) == (name, arguments)


def test_a_lookup_without_a_tool_goes_through_the_shell() -> None:
    call = Toolbox(TRAINED).call(GitLog(3))
    assert call is not None
    assert call.arguments["command"][2].startswith("git log -n 3 ")


def test_a_lookup_that_nothing_serves_is_no_call() -> None:
    assert Toolbox(REFERENCE).call(Search("x")) is None


def test_a_hostile_name_is_quoted_for_the_shell() -> None:
    assert ReadFile("a; rm -rf ~").shell() == "cat -- 'a; rm -rf ~'"
    assert "'$(x)'" in Search("$(x)").shell()
