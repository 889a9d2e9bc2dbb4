"""Patches: what applies, how, and what is refused without touching anything."""

import difflib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.agent.lines import updated
from services.agent.patch_text import Update, parse
from services.chassis.errors import ServiceError
from tests.agent.support import Client, names_in

PYTHON = (
    "import os\n\n\nclass A:\n    def go(self):\n        return 1\n\n\nclass B:\n    def go(self):\n        return 1\n"
)


def patch(*lines: str) -> str:
    return "\n".join(["*** Begin Patch", *lines, "*** End Patch"])


def update(path: str, *lines: str) -> str:
    return patch(f"*** Update File: {path}", *lines)


async def test_add_update_move_and_delete_in_one_patch(agent: Client) -> None:
    (agent.root / "edit").write_text("a\nb\nc\n")
    (agent.root / "old").write_text("1\n2\n")
    (agent.root / "gone").write_text("x\ny\n")
    reply = await agent.post(
        "/patch",
        patch=patch(
            "*** Add File: new/dir/f.py", "+print('hi')", "+", "+# end",
            "*** Update File: edit", "@@", " a", "-b", "+B", "+B2", " c",
            "*** Update File: old", "*** Move to: moved/new", "@@", "-2", "+two",
            "*** Delete File: gone",
        ),
    )  # fmt: skip

    assert (agent.root / "new/dir/f.py").read_text() == "print('hi')\n\n# end\n"
    assert (agent.root / "edit").read_text() == "a\nB\nB2\nc\n"
    assert (agent.root / "moved/new").read_text() == "1\ntwo\n"
    assert names_in(agent.root) == ["edit", "moved", "new"]
    assert [(file["path"], file["status"], file["added"], file["removed"]) for file in reply["files"]] == [
        ("new/dir/f.py", "added", 3, 0),
        ("edit", "modified", 2, 1),
        ("moved/new", "renamed", 1, 1),
        ("gone", "deleted", 0, 2),
    ]


@pytest.mark.parametrize(
    "wrapped",
    [
        "apply_patch <<'EOF'\n{}\nEOF",
        "```diff\n{}\n```",
        "\n\n{}\n\n",
        "bash -lc \"apply_patch <<'PATCH'\n{}\nPATCH\"",
    ],
)
async def test_a_patch_may_be_wrapped(agent: Client, wrapped: str) -> None:
    (agent.root / "f").write_text("a\n")
    await agent.post("/patch", patch=wrapped.format(update("f", "@@", "-a", "+b")))

    assert (agent.root / "f").read_text() == "b\n"


@pytest.mark.parametrize(
    ("before", "lines", "after"),
    [
        (PYTHON, ["@@ class B:", "     def go(self):", "-        return 1", "+        return 2"],
         PYTHON[:-2] + "2\n"),
        (PYTHON, ["@@ class B:", "@@     def go(self):", "-        return 1", "+        return 2"],
         PYTHON[:-2] + "2\n"),
        ("a\nb\na\nb\n", ["@@", " a", "-b", "+1", "@@", " a", "-b", "+2"], "a\n1\na\n2\n"),
        ("a\nb\na\nb\n", ["@@", "-b", "+end", "*** End of File"], "a\nb\na\nend\n"),
        ("a\nb\n", [" a", "-b", "+c"], "a\nc\n"),
        ("a\nb\n", ["@@", "+c"], "a\nb\nc\n"),
        ("a\nb\n", ["@@ a", "+c"], "a\nc\nb\n"),
        ("a\nb\n", ["@@ -1,2 +1,2 @@ def f():", "-b", "+c"], "a\nc\n"),
        ("", ["@@", "+c"], "c\n"),
        ("a\n", ["@@", "-a"], ""),
        ("a\n\nb\n", ["@@", " a", "", "-b", "+c"], "a\n\nc\n"),
        ("  a  \n\tb\n", ["@@", " a", "-b", "+c"], "  a  \nc\n"),
        ("x = \u201ca\u201d \u2013 b\n", ['@@', '-x = "a" - b', "+y"], "y\n"),
        ("a\r\nb\r\n", ["@@", " a", "-b", "+c", "+d"], "a\r\nc\r\nd\r\n"),
        ("a\nb", ["@@", " a", "-b", "+c"], "a\nc"),
        ("a\nb", ["@@", " b", "+c"], "a\nb\nc"),
        ("a\nb", ["@@", " a", "-b"], "a"),
    ],
)  # fmt: skip
async def test_updates(agent: Client, before: str, lines: list[str], after: str) -> None:
    (agent.root / "f").write_bytes(before.encode())
    await agent.post("/patch", patch=update("f", *lines))

    assert (agent.root / "f").read_bytes().decode() == after


async def test_mode_and_bytes_that_are_not_utf8_stay(agent: Client) -> None:
    (agent.root / "f").write_bytes(b"caf\xe9\nb\n")
    (agent.root / "f").chmod(0o750)
    await agent.post("/patch", patch=update("f", "*** Move to: g", "@@", "-b", "+c"))

    assert (agent.root / "g").read_bytes() == b"caf\xe9\nc\n"
    assert (agent.root / "g").stat().st_mode & 0o777 == 0o750


async def test_a_link_inside_is_edited_through_and_deleted_itself(agent: Client) -> None:
    (agent.root / "f").write_text("a\n")
    (agent.root / "l").symlink_to("f")
    await agent.post("/patch", patch=update("l", "@@", "-a", "+b"))
    assert (agent.root / "f").read_text() == "b\n"
    assert (agent.root / "l").is_symlink()

    await agent.post("/patch", patch=patch("*** Delete File: l"))
    assert names_in(agent.root) == ["f"]


GOOD = ["*** Add File: fresh", "+x", "*** Update File: a", "@@", "-one", "+1"]


@pytest.mark.parametrize(
    ("lines", "status", "code", "hint"),
    [
        ([*GOOD, "*** Update File: b", "@@", "-nine", "+9"], 422, "invalid_field", "not in the file"),
        (
            [*GOOD, "*** Update File: b", "@@", "-three", "+3", "@@", "-two", "+2"],
            422,
            "invalid_field",
            "are at line 1",
        ),
        ([*GOOD, "*** Update File: b", "@@ nowhere", "+2"], 422, "invalid_field", "'@@' line"),
        ([*GOOD, "*** Update File: none", "@@", "-two", "+2"], 404, "not_found", "none does not exist"),
        ([*GOOD, "*** Delete File: none"], 404, "not_found", "does not exist"),
        ([*GOOD, "*** Delete File: d"], 422, "invalid_field", "is a folder"),
        ([*GOOD, "*** Add File: b", "+x"], 409, "conflict", "*** Update File:"),
        ([*GOOD, "*** Add File: d/e/f", "+x", "*** Add File: b/x", "+y"], 422, "invalid_field", "b/x"),
        ([*GOOD, "*** Update File: b", "*** Move to: a", "@@", "-two", "+2"], 409, "conflict", "exists already"),
        ([*GOOD, "*** Add File: .git/hooks/x", "+x"], 422, "invalid_field", ".git"),
        ([*GOOD, "*** Update File: b", "@@", "two"], 422, "invalid_field", "Patch line 10"),
        ([*GOOD, "*** Update File: b"], 422, "invalid_field", "changes nothing"),
        ([*GOOD, "*** Rename File: b"], 422, "invalid_field", "expected"),
        ([*GOOD, "*** Add File: c", "x"], 422, "invalid_field", "starts with '+'"),
        ([*GOOD, "*** Add File: "], 422, "invalid_field", "path is missing"),
        ([], 422, "invalid_field", "empty"),
    ],
)
async def test_a_bad_patch_changes_nothing(agent: Client, lines: list[str], status: int, code: str, hint: str) -> None:
    (agent.root / "a").write_text("one\n")
    (agent.root / "b").write_text("two\nthree\n")
    (agent.root / "d").mkdir()
    refusal = await agent.refused("/patch", patch=patch(*lines))

    assert refusal[:2] == (status, code)
    assert hint in refusal[2]
    assert {path.name for path in agent.root.rglob("*") if path.is_file()} == {"a", "b"}
    assert (agent.root / "a").read_text() == "one\n"


@pytest.mark.parametrize("text", ["nothing", "*** Begin Patch\n*** Add File: f\n+x", "--- a/f\n+++ b/f\n"])
async def test_a_patch_without_its_markers_is_refused(agent: Client, text: str) -> None:
    status, code, message = await agent.refused("/patch", patch=text)

    assert (status, code) == (422, "invalid_field")
    assert "***" in message


async def test_a_miss_shows_the_nearest_lines_with_their_number(agent: Client) -> None:
    (agent.root / "f").write_text(
        "".join(f"filler {number}\n" for number in range(40)) + "def compute(value):\n    pass\n"
    )
    message = (await agent.refused("/patch", patch=update("f", "@@", "-def compute(values):", "-    pass", "+x")))[2]

    assert "nearest are at line 41" in message
    assert "def compute(value):" in message


async def test_files_may_be_touched_twice(agent: Client) -> None:
    (agent.root / "f").write_text("a\nb\n")
    lines = ["*** Update File: f", "@@", "-a", "+1", "*** Update File: f", "@@", " 1", "-b", "+2",
             "*** Delete File: f", "*** Add File: f", "+anew"]  # fmt: skip
    await agent.post("/patch", patch=patch(*lines))

    assert (agent.root / "f").read_text() == "anew\n"


LINE = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=12)


@st.composite
def edits(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Return a file whose lines all differ, and what it becomes."""
    before = [f"{number}:{text}" for number, text in enumerate(draw(st.lists(LINE, min_size=1, max_size=25)))]
    after: list[str] = []
    for line in before:
        match draw(st.sampled_from(["keep", "keep", "keep", "drop", "change", "insert"])):
            case "keep":
                after.append(line)
            case "change":
                after.append("new:" + draw(LINE))
            case "insert":
                after += ["new:" + draw(LINE), line]
    return before, after


@settings(max_examples=150, deadline=None)
@given(edits(), st.integers(1, 3), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_any_edit_written_as_a_patch_gives_that_edit(
    edit: tuple[list[str], list[str]], context: int, end: str, last_end: bool
) -> None:
    before, after = edit
    end = end if len(before) > 1 or last_end else "\n"  # one line without an end tells of none
    hunks: list[str] = []
    for group in difflib.SequenceMatcher(None, before, after, autojunk=False).get_grouped_opcodes(context):
        hunks.append("@@")
        for tag, i1, i2, j1, j2 in group:
            hunks += [f" {line}" for line in before[i1:i2]] if tag == "equal" else []
            hunks += [f"-{line}" for line in before[i1:i2]] if tag in ("replace", "delete") else []
            hunks += [f"+{line}" for line in after[j1:j2]] if tag in ("replace", "insert") else []
    if not hunks:
        return

    (operation,) = parse(patch("*** Update File: f", *hunks))
    assert isinstance(operation, Update)
    content = end.join(before) + (end if last_end else "")
    wanted = end.join(after) + (end if last_end and after else "")
    assert updated(content.encode(), operation.hunks).decode() == wanted


@given(st.text(max_size=200))
def test_any_text_is_a_patch_or_refused_in_words(text: str) -> None:
    try:
        operations = parse(f"*** Begin Patch\n{text}\n*** End Patch")
    except ServiceError:
        return
    assert operations
