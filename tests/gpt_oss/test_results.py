"""What tools answer, in the formats they answer in."""

import pytest

from services.gpt_oss.offline.commits import commits
from services.gpt_oss.offline.lookups import Listing, RunCommand
from services.gpt_oss.offline.manifests import Facts, read_manifest
from services.gpt_oss.offline.outline import outline, outline_of_part
from services.gpt_oss.offline.results import entries, file_text, matches, observe, was_cut


@pytest.mark.parametrize(
    "text",
    [
        "README.md\nsrc/\nsrc/a.py",
        "./README.md\n./src/\n./src/a.py",
        "[FILE] README.md\n[DIR] src\n[FILE] src/a.py",
        ".\n├── README.md\n└── src/\n    └── a.py\n\n1 directory, 2 files",
        "README.md\nsrc/\n  a.py",
        '["README.md", "src/", "src/a.py"]',
        '[{"name": "README.md", "type": "file"}, {"name": "src", "type": "directory", "children": [{"name": "a.py"}]}]',
        '{"entries": [{"path": "README.md"}, {"path": "src", "type": "dir"}, {"path": "src/a.py"}]}',
        "README.md@\n.git/\nsrc/\nsrc/a.py\n[more entries are not shown; list a subdirectory or use less depth]",
    ],
)
def test_a_listing_is_read_in_every_format(text: str) -> None:
    assert [entry.shown for entry in entries(text)] == ["README.md", "src/", "src/a.py"]


def test_a_long_listing_is_read() -> None:
    text = "total 8\ndrwxr-xr-x 2 a b 4096 Nov 20 22:00 src\n-rw-r--r-- 1 a b 7 Nov 20 22:00 my file.txt\n"
    assert [entry.shown for entry in entries(text)] == ["src/", "my file.txt"]


def test_lines_next_to_a_cut_are_not_taken_for_names() -> None:
    text = "a.py\nlong/pa\n… [500 characters cut] …\nth/b.py\nc.py"
    assert [entry.path for entry in entries(text)] == ["a.py", "c.py"]
    assert was_cut(text)


def test_an_empty_directory_has_no_entries() -> None:
    assert entries("(empty directory)") == []


@pytest.mark.parametrize(
    ("raw", "text", "code", "late"),
    [
        ("hi\n[exit code 3]", "hi", 3, False),
        ("[exit code 0]", "", 0, False),
        ("hi\n[timed out after 5s]", "hi", None, True),
        (
            "hi\n[exit code 0]\n[the whole output, 9 bytes, is in x]",
            "hi\n[the whole output, 9 bytes, is in x]",
            0,
            False,
        ),
        ('{"output": "hi", "exit_code": 2}', "hi", 2, False),
        ("hi", "hi", None, False),
        ('{"name": "a package file"}', '{"name": "a package file"}', None, False),
    ],
)
def test_the_end_of_a_command_is_read(raw: str, text: str, code: int | None, late: bool) -> None:
    seen = observe(RunCommand("x"), raw)
    assert (seen.text, seen.exit_code, seen.timed_out, seen.ok) == (text, code, late, True)


def test_an_error_is_recognised_without_its_mark() -> None:
    seen = observe(Listing(), "error: no such directory")
    assert (seen.ok, seen.text) == (False, "no such directory")


@pytest.mark.parametrize("text", ["1\ta\n2\tb", "L1: a\nL2: b", "  1 | a\n  2 | b", "[f.py: lines 1-2 of 9]\na\nb"])
def test_what_a_tool_puts_around_a_file_is_taken_off(text: str) -> None:
    assert file_text(text) == "a\nb"


def test_a_file_of_numbers_keeps_them() -> None:
    assert file_text("3: x\n1: y") == "3: x\n1: y"


def test_matches_are_read_with_and_without_a_space() -> None:
    found = matches("./a.py:3: x = 1\nb/c.py:10:y\nnot a match\n")
    assert [(match.path, match.line, match.text) for match in found] == [("a.py", 3, "x = 1"), ("b/c.py", 10, "y")]


def test_commits_are_read_from_both_of_git_s_formats() -> None:
    head = "commit 0123456789abcdef0123456789abcdef01234567\nAuthor: A <a@b>\nDate:   Fri Nov 20\n"
    long = f"{head}\n    Subject\n\n    Body\n"
    assert commits(long) == ["`0123456` Fri Nov 20 Subject"]
    assert commits("0123456 2026-11-20 A: Subject\n") == ["`0123456` 2026-11-20 A: Subject"]
    assert commits("No commits.") == []


MANIFESTS = [
    (
        "package.json",
        '{"name": "b", "scripts": {"test": "jest"}}',
        Facts("b", "", "npm install", "npm test", ("npm scripts `test`",)),
    ),
    (
        "package.json",
        '{"scripts": {"test": "echo \\"Error: no test specified\\""}}',
        Facts(build="npm install", notes=("npm scripts `test`",)),
    ),
    (
        "go.mod",
        "module x.org/b\n\ngo 1.22\n",
        Facts("x.org/b", "", "go build ./...", "go test ./...", ("Go 1.22",)),
    ),
    ("setup.py", 'from setuptools import setup\nsetup(name="b", description="A boat")\n', Facts("b", "A boat")),
    ("setup.py", 'kw = dict(name="b", version=V)\nsetup(**kw)\n', Facts("b")),
    ("setup.py", 'hand = dict(name="Ada", age=3)\nsetup()\n', Facts()),
    ("PKG-INFO", "Metadata-Version: 2.1\nName: b\nSummary: A boat\n\nText\n", Facts("b", "A boat")),
    (
        "Makefile",
        "all:\n\ttrue\n.PHONY: x\ncheck: all\n\ttrue\n",
        Facts(build="make", test="make check", notes=("make targets `all`, `check`",)),
    ),
]


@pytest.mark.parametrize(("name", "text", "facts"), MANIFESTS)
def test_a_manifest_is_read(name: str, text: str, facts: Facts) -> None:
    assert read_manifest(name, text) == facts


@pytest.mark.parametrize("name", ["pyproject.toml", "package.json", "Cargo.toml", "setup.cfg", "setup.py", "go.mod"])
@pytest.mark.parametrize(
    "text", ["", "{", "[[[", "\x00", '{"scripts": 3}', '"x"', "[project]\nname = 3\ndependencies = 4\n"]
)
def test_a_broken_manifest_is_survived(name: str, text: str) -> None:
    assert isinstance(read_manifest(name, text), Facts)


def test_a_cut_manifest_is_read_up_to_the_cut() -> None:
    text = '[project]\nname = "b"\n\n[tool.x]\nkey = "unfini'
    assert read_manifest("pyproject.toml", text).name == "b"


@pytest.mark.parametrize(
    "source",
    [
        "(" * 5000,
        "-" * 50_000 + "1",
        "x" + ".a" * 20_000,
        "\x00",
        "if:",
        "'\\d'" * 3,
        "class A(x" + ".a" * 5_000 + "): ...",
    ],
)
def test_any_source_is_survived(source: str) -> None:
    outline(source)


@pytest.mark.parametrize("rest", ["def g(", "    x = (1,", "    def h(self):", "    @x", "A = [\n1,\n2"])
def test_a_beginning_is_outlined_up_to_what_is_cut(rest: str) -> None:
    found = outline_of_part(["class A:", "    a = 1", "    def f(self):", "        pass", "", *rest.split("\n")])
    assert found is not None
    assert [item.signature for item in found.items][:1] == ["class A"]


def test_an_outline_shows_guarded_names_and_hides_overloads() -> None:
    found = outline(
        "import typing\nif True:\n    def f(a, /, *, b): ...\n@typing.overload\ndef g(): ...\nasync def h(**k): ...\n"
    )
    assert found is not None
    assert [item.signature for item in found.items] == ["def f(a, /, *, b)", "async def h(**k)"]
