"""Listing, reading and writing, and the border of the work tree."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.agent import names
from services.agent.settings import Settings
from services.agent.tree import Tree
from services.chassis.errors import ServiceError
from tests.agent.support import Client, names_in, serving


def make(root: Path, *files: str) -> None:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")


def paths(reply: dict[str, Any]) -> list[str]:
    return [entry["path"] for entry in reply["entries"]]


async def test_a_listing_is_sorted_relative_and_as_deep_as_asked(agent: Client) -> None:
    make(agent.root, "b/c/d", "a.txt", "a/z", ".git/config", ".hidden")

    assert paths(await agent.post("/files/list")) == [".hidden", "a", "a.txt", "b"]
    assert paths(await agent.post("/files/list", depth=2)) == [".hidden", "a", "a/z", "a.txt", "b", "b/c"]
    assert paths(await agent.post("/files/list", path="b", depth=5)) == ["b/c", "b/c/d"]
    assert paths(await agent.post("/files/list", path="a.txt")) == ["a.txt"]


async def test_a_listing_names_heavy_folders_but_does_not_enter_them(agent: Client) -> None:
    make(agent.root, "node_modules/x/y", "src/m")

    assert paths(await agent.post("/files/list", depth=4)) == ["node_modules", "src", "src/m"]
    assert paths(await agent.post("/files/list", path="node_modules", depth=4)) == [
        "node_modules/x",
        "node_modules/x/y",
    ]


async def test_a_cut_listing_keeps_the_upper_levels(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"list_entries": 5})) as agent:
        make(agent.root, *(f"a/{number}" for number in range(20)), "z")
        reply = await agent.post("/files/list", depth=3)

    assert reply["truncated"]
    assert paths(reply) == ["a", "a/0", "a/1", "a/10", "z"]


async def test_every_kind_of_entry_is_told(agent: Client) -> None:
    (agent.root / "file").write_bytes(b"12345")
    (agent.root / "folder").mkdir()
    (agent.root / "link").symlink_to("/etc/passwd")
    os.mkfifo(agent.root / "pipe")
    entries = (await agent.post("/files/list"))["entries"]

    assert [(entry["path"], entry["type"], entry["size"]) for entry in entries] == [
        ("file", "file", 5),
        ("folder", "directory", 0),
        ("link", "link", 0),
        ("pipe", "other", 0),
    ]


async def test_strange_names_are_quoted_and_accepted_quoted(agent: Client) -> None:
    strange = [b"caf\xe9", b"two\nlines", b'quo"te', b"back\\slash", "日本".encode(), b"-rf", b"\x01"]
    for name in strange:
        (agent.root / os.fsdecode(name)).write_bytes(b"needle " + name.replace(b"\n", b"_"))
    listed = paths(await agent.post("/files/list"))

    assert set(listed) == {r'"caf\351"', r'"two\nlines"', r'"quo\"te"', r'"back\\slash"', "日本", "-rf", r'"\001"'}
    for shown in listed:
        reply = await agent.post("/files/read", path=shown)
        assert reply["text"].startswith("needle ")
        assert reply["path"] == shown
    found = await agent.post("/search", query="needle")
    assert {match["path"] for match in found["matches"]} == set(listed)


@given(st.binary(min_size=1, max_size=30).filter(lambda name: b"\0" not in name))
def test_shown_names_come_back_and_are_encodable(name: bytes) -> None:
    shown = names.show(name)

    assert os.fsencode(names.parse(shown)) == name
    assert "\n" not in shown
    assert shown.encode().decode() == shown


async def test_lines_are_read_by_number(agent: Client) -> None:
    (agent.root / "f").write_text("".join(f"line {number}\n" for number in range(1, 11)))
    reply = await agent.post("/files/read", path="f", line_start=3, line_end=4)

    assert reply["text"] == "line 3\nline 4\n"
    assert (reply["line_start"], reply["line_end"], reply["total_lines"]) == (3, 4, 10)
    assert not reply["truncated"]
    assert (await agent.post("/files/read", path="f", line_start=10, line_end=99))["text"] == "line 10\n"


async def test_an_empty_file_and_one_without_last_newline_are_read(agent: Client) -> None:
    (agent.root / "empty").touch()
    (agent.root / "half").write_bytes(b"a\r\nb\rc")

    empty = await agent.post("/files/read", path="empty")
    assert (empty["text"], empty["line_end"], empty["total_lines"]) == ("", 0, 0)
    half = await agent.post("/files/read", path="half")
    assert (half["text"], half["total_lines"]) == ("a\r\nb\rc", 2)


async def test_long_files_are_cut_at_a_line_and_long_lines_inside(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"text_bytes": 100})) as agent:
        (agent.root / "f").write_text("123456789\n" * 50)
        (agent.root / "g").write_text("x" * 500)
        cut = await agent.post("/files/read", path="f", line_start=2)
        line = await agent.post("/files/read", path="g")

    assert (len(cut["text"]), cut["line_end"], cut["truncated"], cut["total_lines"]) == (100, 11, True, 50)
    assert (len(line["text"]), line["truncated"]) == (100, True)


async def test_binary_files_have_no_text_and_bad_utf8_is_replaced(agent: Client) -> None:
    (agent.root / "b").write_bytes(b"\x7fELF\0\1")
    (agent.root / "l").write_bytes(b"caf\xe9\n")

    binary = await agent.post("/files/read", path="b")
    assert (binary["binary"], binary["text"], binary["bytes"]) == (True, "", 6)
    assert (await agent.post("/files/read", path="l"))["text"] == "caf\ufffd\n"


async def test_write_creates_folders_and_keeps_the_mode_of_what_it_replaces(agent: Client) -> None:
    created = await agent.post("/files/write", path="new/deep/f.sh", content="1\n")
    (agent.root / "new/deep/f.sh").chmod(0o755)
    replaced = await agent.post("/files/write", path="new/deep/f.sh", content="é\n")

    assert created == {"path": "new/deep/f.sh", "bytes": 2, "created": True}
    assert replaced == {"path": "new/deep/f.sh", "bytes": 3, "created": False}
    assert (agent.root / "new/deep/f.sh").stat().st_mode & 0o777 == 0o755
    assert names_in(agent.root / "new/deep") == ["f.sh"]


async def test_write_through_a_link_inside_the_tree_keeps_the_link(agent: Client) -> None:
    make(agent.root, "real")
    (agent.root / "link").symlink_to("real")
    await agent.post("/files/write", path="link", content="new")

    assert (agent.root / "link").is_symlink()
    assert (agent.root / "real").read_text() == "new"


async def test_write_does_not_reach_the_other_name_of_a_hard_link(agent: Client, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("theirs")
    os.link(tmp_path / "outside", agent.root / "inside")
    await agent.post("/files/write", path="inside", content="mine")

    assert (tmp_path / "outside").read_text() == "theirs"


@pytest.fixture
def outside(agent: Client, tmp_path: Path) -> Path:
    place = tmp_path / "outside"
    place.mkdir()
    (place / "secret").write_text("theirs")
    (agent.root / "out").symlink_to(place)
    (agent.root / "file-out").symlink_to(place / "secret")
    (agent.root / "dangling").symlink_to(place / "not-there")
    (agent.root / "up").symlink_to("..")
    (agent.root / "loop").symlink_to("loop")
    return place


ESCAPES = [
    "../outside/secret", "/etc/passwd", "out/secret", "file-out", "up/outside/secret", "a/../../outside/secret",
    "dangling", "out/new", "loop", "loop/x", "a\0b", r'"..\057outside"', "x" * 300 + "/y" * 3,
]  # fmt: skip


@pytest.mark.parametrize("path", ESCAPES)
async def test_no_path_or_link_leads_outside(agent: Client, outside: Path, path: str) -> None:
    patch = f"*** Begin Patch\n*** Add File: {path}\n+evil\n*** End Patch"
    assert (await agent.refused("/files/write", path=path, content="evil"))[0] == 422
    assert (await agent.refused("/patch", patch=patch))[0] == 422
    assert (await agent.refused("/files/read", path=path))[0] in (404, 422)
    assert (await agent.refused("/files/list", path=path))[0] in (404, 422)
    assert (await agent.refused("/search", path=path, query="theirs"))[0] in (404, 422)
    assert (await agent.refused("/exec", command="true", workdir=path))[0] in (404, 422)

    assert names_in(outside) == ["secret"]
    assert (outside / "secret").read_text() == "theirs"


async def test_listing_and_search_do_not_follow_links_out(agent: Client, outside: Path) -> None:
    assert not any(path.startswith(("out/", "up/")) for path in paths(await agent.post("/files/list", depth=9)))
    assert (await agent.post("/search", query="theirs"))["matches"] == []


def test_a_link_put_in_place_after_resolving_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    tree = Tree(tmp_path / "tree")
    path = tree.writable("sub/file")
    (tmp_path / "tree/sub").rmdir()
    (tmp_path / "tree/sub").symlink_to(tmp_path / "outside")

    with pytest.raises(ServiceError):
        tree.write(path, b"evil", None)
    assert names_in(tmp_path / "outside") == []


def test_a_last_link_put_in_place_after_resolving_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "secret").write_text("theirs")
    tree = Tree(tmp_path / "tree")
    path = tree.writable("file")
    (tmp_path / "tree/file").symlink_to(tmp_path / "secret")

    with pytest.raises(ServiceError):
        tree.read(path, 100)
    tree.write(path, b"mine", None)
    assert (tmp_path / "secret").read_text() == "theirs"


@pytest.mark.parametrize("path", [".git/config", ".git/hooks/x", "sub/.git/config", ".GIT/x", "g/config", "."])
async def test_files_of_git_are_not_written(agent: Client, path: str) -> None:
    await agent.open()
    (agent.root / "g").symlink_to(".git")
    before = (agent.root / ".git/config").read_text()

    assert (await agent.refused("/files/write", path=path, content="evil"))[:2] == (422, "invalid_field")
    assert (agent.root / ".git/config").read_text() == before


async def test_what_is_not_there_is_answered_with_the_nearest_names(agent: Client) -> None:
    make(agent.root, "src/application.py", "README.md")

    status, code, message = await agent.refused("/files/read", path="src/aplication.py")
    assert (status, code) == (404, "not_found")
    assert "src/application.py" in message
    assert "src/application.py" in (await agent.refused("/files/read", path="application.py"))[2]


async def test_folders_pipes_and_bad_ranges_are_refused(agent: Client) -> None:
    make(agent.root, "folder/f")
    os.mkfifo(agent.root / "pipe")

    assert (await agent.refused("/files/read", path="folder"))[:2] == (422, "invalid_field")
    assert (await agent.refused("/files/read", path="."))[:2] == (422, "invalid_field")
    assert (await agent.refused("/files/read", path="pipe"))[:2] == (422, "invalid_field")
    assert (await agent.refused("/files/write", path="pipe", content="x"))[:2] == (422, "invalid_field")
    assert (await agent.refused("/files/write", path="folder", content="x"))[:2] == (422, "invalid_field")
    assert (await agent.refused("/files/write", path="folder/f/g", content="x"))[:2] == (422, "invalid_field")
    assert (await agent.refused("/files/read", path="folder/f", line_start=9))[:2] == (422, "invalid_field")
    assert (await agent.refused("/files/read", path="folder/f", line_start=2, line_end=1))[:2] == (422, "invalid_field")


async def test_a_file_over_the_limit_is_too_large(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"read_file_bytes": 10})) as agent:
        (agent.root / "f").write_text("12345678901")

        assert (await agent.refused("/files/read", path="f"))[:2] == (413, "too_large")
