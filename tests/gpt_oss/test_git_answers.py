"""What a user reads about commits and changes, with and without uncommitted edits of their own."""

import pytest
from openai import AsyncOpenAI

from services.gpt_oss.offline.answers_git import counted
from services.gpt_oss.offline.lookups import GitLog
from services.gpt_oss.offline.results import Observation
from services.mcp_hub.local_tree import _MESSAGE as SNAPSHOT
from tests.gpt_oss.conftest import commit
from tests.gpt_oss.hands import HUB_TOOLS, SHELL_ONLY, Hands, ask

NO_SHELL = [tool for tool in HUB_TOOLS if tool["function"]["name"] != "shell__exec"]


@pytest.mark.parametrize(
    "text", ["Show the diff", "What changed?", "git diff", "git status", "What are my uncommitted changes?"]
)
async def test_the_user_s_edits_are_their_uncommitted_changes(client: AsyncOpenAI, dirty: Hands, text: str) -> None:
    answer = await ask(client, dirty, text)
    assert answer.startswith("Your uncommitted changes (2 files changed, 2 insertions(+), 1 deletion(-)):")
    assert " docs/guide.md | 2 +-" in answer
    assert "+The crew decides." in answer
    assert "+ahoy" in answer
    assert "Let the captain decide" in answer.rpartition("The last commit is ")[2]
    assert SNAPSHOT not in answer
    assert "earlier tasks" not in answer


async def test_changes_of_earlier_tasks_are_told_apart(client: AsyncOpenAI, dirty: Hands) -> None:
    (dirty.root / "docs/guide.md").write_text("# Guide\n\nThe cook decides.\n")
    mine, _, later = (await ask(client, dirty, "What changed?")).partition("What tasks changed after that:")
    assert "+The crew decides." in mine
    assert "+The cook decides." in later
    assert "+The crew decides." not in later


async def test_changes_of_earlier_tasks_are_shown_below_a_long_diff(client: AsyncOpenAI, dirty: Hands) -> None:
    (dirty.root / "notes.txt").write_text("a line of notes\n" * 5_000)
    commit(dirty.root, SNAPSHOT, author=("Moorage", "moorage@localhost"))
    (dirty.root / "docs/guide.md").write_text("# Guide\n\nThe cook decides.\n")
    answer = await ask(client, dirty, "What changed?")
    assert "+The cook decides." in answer
    assert answer.count("```") % 2 == 0


async def test_uncommitted_changes_of_one_file_leave_the_others_out(client: AsyncOpenAI, dirty: Hands) -> None:
    answer = await ask(client, dirty, "git diff notes.txt")
    assert answer.startswith("Your uncommitted changes of `notes.txt` (1 file changed, 1 lines added, 0 removed):")
    assert "+ahoy" in answer
    assert "The crew" not in answer
    assert "You have no uncommitted changes of `README.md`." in await ask(client, dirty, "git diff README.md")


async def test_a_shell_alone_tells_uncommitted_changes_too(client: AsyncOpenAI, dirty: Hands) -> None:
    answer = await ask(client, dirty, "What changed?", SHELL_ONLY)
    assert answer.startswith("Your uncommitted changes (2 files changed")
    assert "+The crew decides." in answer


@pytest.mark.parametrize("text", ["what changed recently?", "show the last 5 commits", "What does this project do?"])
async def test_edits_are_no_commit_of_the_project(client: AsyncOpenAI, dirty: Hands, text: str) -> None:
    answer = await ask(client, dirty, text)
    assert "` (your uncommitted changes)\n" in answer
    assert "Ada: Let the captain decide" in answer
    assert SNAPSHOT not in answer
    assert "Moorage:" not in answer


async def test_edits_do_not_count_among_the_commits_asked_for(client: AsyncOpenAI, dirty: Hands) -> None:
    answer = await ask(client, dirty, "show the last 2 commits")
    assert answer.startswith("The 2 newest commits, and your uncommitted changes:")
    assert "Start the ferry" in answer


async def test_the_last_commit_is_the_project_s(client: AsyncOpenAI, dirty: Hands) -> None:
    answer = await ask(client, dirty, "Show the last commit")
    assert answer.startswith("Commit `HEAD`:")
    assert "+The captain decides." in answer
    assert "+The crew decides." not in answer


async def test_head_means_the_user_s_own(client: AsyncOpenAI, dirty: Hands) -> None:
    answer = await ask(client, dirty, "git diff HEAD")
    assert "+The crew decides." in answer
    assert "-The captain decides." in answer
    between = await ask(client, dirty, "what changed between HEAD~1 and HEAD")
    assert "+The captain decides." in between


async def test_a_repository_of_nothing_but_edits_has_no_commits(client: AsyncOpenAI, hands: Hands) -> None:
    (hands.root / ".git").rename(hands.root.parent / "gone")
    commit(hands.root, SNAPSHOT, first=True, author=("Moorage", "moorage@localhost"))
    assert (await ask(client, hands, "git log")).startswith("There are no commits, only your uncommitted changes.")
    assert (await ask(client, hands, "git diff")).startswith("Your uncommitted changes (8 files changed")
    assert (await ask(client, hands, "Show the last commit")).startswith("I could not show `HEAD`: ")


async def test_how_many_commits_are_counted_and_not_those_shown(client: AsyncOpenAI, hands: Hands) -> None:
    for number in range(12):
        (hands.root / "notes.txt").write_text(f"{number}\n")
        commit(hands.root, f"Note {number}")
    answer = await ask(client, hands, "How many commits are there?")
    assert answer.startswith("14 commits. The 10 newest commits:\n")
    without = await ask(client, hands, "How many commits are there?", NO_SHELL)
    assert without.startswith("I cannot count the commits without a shell. The 10 newest commits:\n")
    assert (await ask(client, hands, "show the commits")).startswith("The 10 newest commits:\n")
    assert (await ask(client, hands, "How many commits touch notes.txt?")).startswith("12 commits of `notes.txt`.")


def test_a_number_is_told_even_when_the_history_cannot_be_shown() -> None:
    assert counted(14, Observation(GitLog(), "fatal: 0123456 is broken", ok=False), 10, None) == "14 commits."


async def test_edits_are_named_where_they_are_counted(client: AsyncOpenAI, dirty: Hands) -> None:
    answer = await ask(client, dirty, "How many commits are there?")
    assert answer.startswith("3 commits; one of them stands for your uncommitted changes:\n\n- `")
