"""Search: both engines over the same trees."""

import re
from pathlib import Path
from typing import Any

import pytest

from services.agent.settings import Settings
from tests.agent.support import Client, Repo, serving

ripgrep = pytest.mark.ripgrep


@pytest.fixture(params=[pytest.param(None, id="ripgrep", marks=ripgrep), pytest.param("python", id="python")])
def engine(request: pytest.FixtureRequest) -> Any:
    return request.param


async def plant(agent: Client, repo: Repo) -> None:
    commit = repo.commit(
        {
            "a/x.py": "def needle():\n    pass\n",
            "a.b": "needle in a.b\r\n",
            "a-b/z": "needle\n",
            "B": "Needle\nneedle 2\nneedle 3\n",
            ".github/w.yml": "needle: hidden\n",
            ".gitignore": "ignored/\n*.log\n",
            "bin": b"needle\0\1\2",
            "latin": b"caf\xe9 needle\n",
            "long": "needle" + "x" * 5_000 + "\n",
            "dir/.gitignore": "!keep.log\n",
            "dir/keep.log": "needle kept\n",
            "dir/no-newline": "needle at end",
        }
    )
    await agent.open(repo, commit)
    await agent.exec("mkdir -p ignored node_modules; echo needle | tee ignored/i node_modules/n x.log untracked")
    await agent.exec("ln -s B linked; printf '' > empty; echo needle > .ignore; echo B >> .ignore")


QUERIES = ["needle", "^needle \\d$", "(?i)NEEDLE", "^caf", "x{100}$", "nothing at all", "needle$", "^$", "\\bin\\b"]


@ripgrep
async def test_both_engines_find_the_same(settings: Settings, repo: Repo) -> None:
    async with serving(settings) as fast, serving(settings, search_engine="python") as slow:
        await plant(fast, repo)
        for query in QUERIES:
            for path in (".", "dir", "B", "ignored"):
                first = await fast.post("/search", query=query, path=path, max_results=1000)
                second = await slow.post("/search", query=query, path=path, max_results=1000)

                assert (first["engine"], second["engine"]) == ("ripgrep", "python")
                assert first["matches"] == second["matches"], (query, path)
                assert first["truncated"] == second["truncated"] is False


async def test_matches_come_in_path_order_with_numbers_and_without_what_is_ignored(
    settings: Settings, repo: Repo, engine: Any
) -> None:
    async with serving(settings, search_engine=engine) as agent:
        await plant(agent, repo)
        found = [(match["path"], match["line"]) for match in (await agent.post("/search", query="needle"))["matches"]]

    assert found == [
        (".github/w.yml", 1),
        (".ignore", 1),
        ("B", 2),
        ("B", 3),
        ("a/x.py", 1),
        ("a-b/z", 1),
        ("a.b", 1),
        ("dir/keep.log", 1),
        ("dir/no-newline", 1),
        ("latin", 1),
        ("long", 1),
        ("untracked", 1),
    ]


async def test_long_lines_and_long_lists_are_cut(settings: Settings, engine: Any) -> None:
    async with serving(settings, search_engine=engine) as agent:
        (agent.root / "f").write_text("".join(f"x{'y' * 900} {number}\n" for number in range(30)))
        reply = await agent.post("/search", query="x", max_results=3)
        exact = await agent.post("/search", query="x", max_results=30)

    assert [match["line"] for match in reply["matches"]] == [1, 2, 3]
    assert reply["truncated"]
    assert not exact["truncated"]
    assert all(len(match["text"]) < 510 for match in reply["matches"])


@pytest.mark.parametrize("query", ["(", "[a", "a\nb", "a\0b", "*"])
async def test_a_bad_expression_is_refused(settings: Settings, engine: Any, query: str) -> None:
    async with serving(settings, search_engine=engine) as agent:
        (agent.root / "f").write_text("x\n")

        assert (await agent.refused("/search", query=query))[:2] == (422, "invalid_field")
        assert (await agent.post("/search", query="x"))["matches"]


async def test_an_expression_that_looks_like_an_option_is_only_an_expression(settings: Settings, engine: Any) -> None:
    async with serving(settings, search_engine=engine) as agent:
        (agent.root / "-f").write_text("--pre=sh\n")
        reply = await agent.post("/search", query="--pre=sh", path="-f")

    assert reply["matches"] == [{"path": "-f", "line": 1, "text": "--pre=sh"}]


async def test_a_place_that_is_not_there_is_not_found(agent: Client) -> None:
    assert (await agent.refused("/search", query="x", path="nowhere"))[:2] == (404, "not_found")


async def test_an_expression_without_end_is_stopped(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"search_timeout": 0.5}), search_engine="python") as agent:
        (agent.root / "f").write_text("a" * 60 + "b\n")

        assert (await agent.refused("/search", query="(a+)+$"))[:2] == (504, "timeout")
        assert re.search("ok", (await agent.exec("echo ok"))["output"])


async def test_search_works_before_the_tree_is_a_repository(settings: Settings, engine: Any) -> None:
    async with serving(settings, search_engine=engine) as agent:
        Path(agent.root / "d").mkdir()
        (agent.root / "d/f").write_text("needle\n")

        assert [match["path"] for match in (await agent.post("/search", query="needle"))["matches"]] == ["d/f"]
