"""What a user reads: whole conversations over a real repository, through the real client."""

import re
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.gpt_oss.hands import SHELL_ONLY, STRING, Hands, ask, function

SIGNATURE = "\n\n_Answered by Moorage's offline engine: fixed rules, no language model._"


async def test_an_overview_says_what_the_readme_says_and_what_is_there(client: AsyncOpenAI, hands: Hands) -> None:
    answer = await ask(client, hands, "What does this project do?")
    assert "Ferry carries parcels between harbours and keeps a **log** of every crossing." in answer
    assert "**ferry**: Parcels across the water." in answer
    assert "- `src/`: source code of `ferry`, 2 Python files" in answer
    assert "- `tests/`: tests, 1 Python file" in answer
    assert "- `LICENSE`: licence" in answer
    assert "Python 3" in answer
    assert "tests: `python3 -m pytest` (`pyproject.toml` configures it)" in answer
    assert "Let the captain decide" in answer
    assert "badge" not in answer


async def test_an_overview_takes_few_turns(client: AsyncOpenAI, hands: Hands) -> None:
    await ask(client, hands, "What does this project do?")
    assert len(hands.calls) == 5


async def test_without_a_readme_the_manifest_speaks(client: AsyncOpenAI, hands: Hands) -> None:
    (hands.root / "README.md").unlink()
    answer = await ask(client, hands, "What does this project do?")
    assert "**ferry**: Parcels across the water." in answer
    assert "(from `pyproject.toml`)" in answer


async def test_a_readme_that_calls_itself_summary_does_not_name_the_project(client: AsyncOpenAI, hands: Hands) -> None:
    (hands.root / "README.md").write_text("# Summary\n\nCarries parcels between harbours.\n")
    (hands.root / "pyproject.toml").write_text("[tool.ruff]\n")
    assert (await ask(client, hands, "What does this project do?")).startswith("**This repository**\n\nCarries")
    (hands.root / "setup.py").write_text(
        "def main():\n    kwargs = dict(name='ferry', version=V)\n    setup(**kwargs)\n"
    )
    assert (await ask(client, hands, "What does this project do?")).startswith("**ferry**\n\nCarries parcels")


async def test_an_empty_repository_is_called_empty(client: AsyncOpenAI, hands: Hands) -> None:
    for path in sorted(hands.root.rglob("*"), reverse=True):
        if ".git" not in path.parts and path.is_file():
            path.unlink()
        elif ".git" not in path.parts:
            path.rmdir()
    answer = await ask(client, hands, "What does this project do?")
    assert "The repository is empty." in answer


async def test_a_list_is_the_names_and_nothing_else(client: AsyncOpenAI, hands: Hands) -> None:
    answer = await ask(client, hands, "List files in current directory")
    names = [".gitignore", "LICENSE", "README.md", "docs/", "pyproject.toml", "src/", "tests/"]
    assert answer == "```\n" + "\n".join(names) + "\n```" + SIGNATURE


async def test_a_folder_is_listed_by_its_own_names(client: AsyncOpenAI, hands: Hands) -> None:
    assert (await ask(client, hands, "ls src/ferry")).startswith("```\n__init__.py\nboat.py\n```\n")


async def test_files_of_a_kind_are_found_all_the_way_down(client: AsyncOpenAI, hands: Hands) -> None:
    answer = await ask(client, hands, "List all Python files")
    assert "src/ferry/__init__.py\nsrc/ferry/boat.py\ntests/test_boat.py" in answer


async def test_a_missing_folder_is_said_to_be_missing(client: AsyncOpenAI, hands: Hands) -> None:
    answer = await ask(client, hands, "List files in the cargo folder")
    assert answer.startswith("I could not list `cargo`: no directory cargo")


async def test_matches_are_grouped_by_file(client: AsyncOpenAI, hands: Hands) -> None:
    answer = await ask(client, hands, 'Search for "harbour"')
    assert answer.startswith("4 matches for `harbour` in 2 files:\n\n- `src/ferry/boat.py` (3)\n")


async def test_a_search_without_a_match_says_so(client: AsyncOpenAI, hands: Hands) -> None:
    answer = await ask(client, hands, 'Search for "submarine"')
    assert answer.startswith("Nothing in the repository contains `submarine`.")


async def test_a_quoted_text_is_no_regular_expression(client: AsyncOpenAI, hands: Hands) -> None:
    answer = await ask(client, hands, 'Search for "load(boat, *"')
    assert "def load(boat, *parcels, heavy=False):" in answer


async def test_todos_are_found(client: AsyncOpenAI, hands: Hands) -> None:
    assert "# TODO check the tide" in await ask(client, hands, "Find TODOs")


async def test_a_definition_is_shown(client: AsyncOpenAI, hands: Hands) -> None:
    answer = await ask(client, hands, "Where is Boat defined?")
    assert "`Boat` is defined in `src/ferry/boat.py`, line 4:" in answer
    assert "A vessel." in answer
    assert "def load" not in answer


async def test_a_name_that_is_not_defined_shows_where_it_occurs(client: AsyncOpenAI, hands: Hands) -> None:
    answer = await ask(client, hands, "Where is captain defined?")
    assert "I found no line that defines `captain`." in answer
    assert "docs/guide.md" in answer


async def test_a_file_is_found_by_its_name(client: AsyncOpenAI, hands: Hands) -> None:
    assert "- `src/ferry/boat.py`" in await ask(client, hands, "where is boat.py?")


async def test_as_many_commits_are_shown_as_were_asked_for(client: AsyncOpenAI, hands: Hands) -> None:
    answer = await ask(client, hands, "show the last 1 commits")
    assert re.search(r"^The newest commit:\n\n- `[0-9a-f]{7}` \S+ Ada: Let the captain decide\n", answer)


async def test_a_clean_tree_is_called_clean(client: AsyncOpenAI, hands: Hands) -> None:
    answer = await ask(client, hands, "What changed?")
    assert answer.startswith("No uncommitted changes")
    assert "Let the captain decide" in answer


async def test_changes_are_shown(client: AsyncOpenAI, hands: Hands) -> None:
    (hands.root / "docs/guide.md").write_text("# Guide\n\nThe crew decides.\n")
    answer = await ask(client, hands, "What changed?")
    assert "1 file changed, 1 lines added, 1 removed" in answer
    assert "+The crew decides." in answer


async def test_a_range_is_compared_even_when_the_diff_tool_takes_none(client: AsyncOpenAI, hands: Hands) -> None:
    answer = await ask(client, hands, "what changed between HEAD~1 and HEAD")
    assert "+The captain decides." in answer


async def test_an_unknown_ref_is_an_error_in_git_s_words(client: AsyncOpenAI, hands: Hands) -> None:
    answer = await ask(client, hands, "git diff deadbeef123")
    assert answer.startswith("I could not compare with `deadbeef123`: ")
    assert "deadbeef123" in answer.split(": ", 1)[1]


async def test_the_last_commit_is_shown(client: AsyncOpenAI, hands: Hands) -> None:
    assert "+The captain decides." in await ask(client, hands, "Show the last commit")


async def test_a_file_is_shown(client: AsyncOpenAI, hands: Hands) -> None:
    answer = await ask(client, hands, "read docs/guide.md")
    assert "```markdown\n# Guide\n\nThe captain decides.\n```" in answer


async def test_a_file_that_is_elsewhere_is_pointed_to(client: AsyncOpenAI, hands: Hands) -> None:
    answer = await ask(client, hands, "read boat.py")
    assert answer.startswith("I could not read `boat.py`: no file boat.py")
    assert "- `src/ferry/boat.py`" in answer


async def test_a_file_with_a_code_block_cannot_close_ours(client: AsyncOpenAI, hands: Hands) -> None:
    (hands.root / "docs/guide.md").write_text("```\ncode\n```\n")
    assert "````markdown\n```\ncode\n```\n````" in await ask(client, hands, "read docs/guide.md")


async def test_a_python_file_is_outlined(client: AsyncOpenAI, hands: Hands) -> None:
    answer = await ask(client, hands, "What classes and functions are in src/ferry/boat.py?")
    assert "1 class, 2 functions and methods" in answer
    assert "> Boats and what they carry." in answer
    assert "class Boat  # line 4: A vessel.\n    def sail(self, harbour)  # line 7: Leave for a harbour.\n" in answer
    assert "def load(boat, *parcels, heavy)  # line 13" in answer


def source(functions: int) -> str:
    """Return a module of many functions, with an empty line after every few."""
    made = (f'def f{number}(a, b):\n    """Add {number}."""\n\n    return a + b\n\n' for number in range(functions))
    return '"""A long module."""\n\n\nclass First:\n    pass\n\n' + "".join(made)


@pytest.mark.parametrize("tools", [None, SHELL_ONLY], ids=["hub", "shell"])
async def test_a_file_longer_than_one_answer_of_a_tool_is_outlined_as_a_whole(
    client: AsyncOpenAI, hands: Hands, tools: list[dict[str, Any]] | None
) -> None:
    (hands.root / "src/long.py").write_text(source(1_000))
    hands.cut = 20_000
    answer = await ask(client, hands, "Classes and functions in src/long.py", tools)
    assert answer.startswith("`src/long.py`: 1 class, 1,000 functions and methods\n\n> A long module.")
    assert "def f0(a, b)  # line 7: Add 0." in answer
    assert "only up to" not in answer
    assert len(hands.calls) <= 8


async def test_a_file_too_long_for_all_calls_is_outlined_up_to_a_line(client: AsyncOpenAI, hands: Hands) -> None:
    (hands.root / "src/long.py").write_text(source(9_000))
    hands.cut = 20_000
    answer = await ask(client, hands, "outline src/long.py")
    found = re.match(r"`src/long.py`, only up to line ([\d,]+), as far as I could read: 1 class, ([\d,]+) fun", answer)
    assert found is not None
    last, functions = (int(text.replace(",", "")) for text in found.groups())
    assert functions > 1_500
    assert 0 <= last - 6 - 5 * functions <= 10
    assert len(hands.calls) == 8


async def test_a_tool_that_knows_no_lines_is_not_asked_again(client: AsyncOpenAI, hands: Hands) -> None:
    (hands.root / "src/long.py").write_text(source(1_000))
    hands.cut = 20_000
    answer = await ask(client, hands, "outline src/long.py", [function("filesystem__read_file", ["path"], path=STRING)])
    assert answer.startswith("`src/long.py`, only up to line ")
    assert len(hands.calls) == 2


async def test_a_file_that_does_not_parse_is_shown_instead(client: AsyncOpenAI, hands: Hands) -> None:
    (hands.root / "src/ferry/boat.py").write_text("def (:\n")
    assert "does not parse as Python" in await ask(client, hands, "outline src/ferry/boat.py")


async def test_a_command_is_run_as_written(client: AsyncOpenAI, hands: Hands) -> None:
    answer = await ask(client, hands, "Run `echo ahoy; exit 3`")
    assert answer == "`echo ahoy; exit 3` ended with exit code 3:\n\n```\nahoy\n```" + SIGNATURE


async def test_the_tests_are_run_by_the_manifest(client: AsyncOpenAI, hands: Hands) -> None:
    (hands.root / "pyproject.toml").unlink()
    (hands.root / "Makefile").write_text("test:\n\t@echo all hands well\n")
    answer = await ask(client, hands, "run the tests")
    assert answer.startswith("I ran the tests with `make test` (`Makefile` says so). The tests passed.")
    assert "all hands well" in answer


async def test_a_project_without_tests_is_not_guessed_at(client: AsyncOpenAI, hands: Hands) -> None:
    (hands.root / "pyproject.toml").unlink()
    answer = await ask(client, hands, "run the tests")
    assert "no manifest I read names a command" in answer
    assert not any(name == "shell__exec" for name, _ in hands.calls)


@pytest.mark.parametrize(
    ("request_text", "said"),
    [
        ("How do I install this?", "> Run `pip install ferry` in your environment."),
        ("How do I use this project?", "> Call `ferry sail` to start."),
        ("Which licence is it under?", "MIT License"),
        ("What dependencies does it have?", "- `httpx>=0.28`"),
        ("How do I run the tests?", "`python3 -m pytest` (by `pyproject.toml`)"),
    ],
)
async def test_the_project_s_own_words_are_quoted(
    client: AsyncOpenAI, hands: Hands, request_text: str, said: str
) -> None:
    assert said in await ask(client, hands, request_text)


async def test_a_change_is_refused_plainly_with_three_ways_to_a_model(client: AsyncOpenAI, hands: Hands) -> None:
    answer = await ask(client, hands, "Fix the sail method of the Boat")
    assert answer.startswith("I cannot do this: writing or changing code takes a language model")
    assert "Nothing was changed." in answer
    for command in (
        "`ollama serve` and `ollama pull gpt-oss:20b`",
        "`GPT_OSS_URL=http://127.0.0.1:11434/v1 ./moorage up`",
        "`vllm serve openai/gpt-oss-20b`",
        "`GPT_OSS_URL=http://127.0.0.1:8000/v1 ./moorage up`",
        "`LLM_API_KEY=… ./moorage up`",
    ):
        assert command in answer
    assert "class Boat:" in answer
    assert {name for name, _ in hands.calls} == {"filesystem__search"}


@pytest.mark.parametrize("text", ["", "?!", "你好", "Was macht dieses Projekt?", "\x00", "🙂" * 500])
async def test_what_is_not_understood_gets_what_would_be(client: AsyncOpenAI, hands: Hands, text: str) -> None:
    answer = await ask(client, hands, text)
    assert answer.startswith("I did not understand this request.")
    assert '"What does this project do?"' in answer


async def test_a_shell_alone_is_enough(client: AsyncOpenAI, hands: Hands) -> None:
    listed = await ask(client, hands, "List files in current directory", SHELL_ONLY)
    assert listed.startswith("```\n.gitignore\nLICENSE\nREADME.md\ndocs/\npyproject.toml\nsrc/\ntests/\n```")
    told = await ask(client, hands, "What does this project do?", SHELL_ONLY)
    assert "Ferry carries parcels" in told
    assert "2 Python files" in told
    assert "Let the captain decide" in told
    assert "4 matches for `harbour`" in await ask(client, hands, 'Search for "harbour"', SHELL_ONLY)
    assert "I could not list `cargo`" in await ask(client, hands, "ls cargo/", SHELL_ONLY)


async def test_a_shell_that_takes_an_argv_gets_one(client: AsyncOpenAI, hands: Hands) -> None:
    tools = [function("container_exec", ["command"], command={"type": "array", "items": STRING})]
    await ask(client, hands, "run `echo ahoy`", tools)
    assert hands.calls == [("container_exec", {"command": ["bash", "-lc", "echo ahoy"]})]


async def test_without_tools_the_engine_says_what_it_misses(client: AsyncOpenAI, hands: Hands) -> None:
    answer = await ask(client, hands, "List files", [])
    assert answer.startswith("I could not list `.`: no tools were offered with this request")


async def test_a_huge_output_is_cut_and_says_so(client: AsyncOpenAI, hands: Hands) -> None:
    (hands.root / "big.txt").write_text("a line of text\n" * 20_000)
    for request_text in ("read big.txt", "run `cat big.txt`", 'search for "line of"'):
        answer = await ask(client, hands, request_text)
        assert len(answer) <= 12_000
        assert answer.endswith(SIGNATURE)
        assert answer.count("```") % 2 == 0
        assert re.search(r"not shown|may be more", answer)
