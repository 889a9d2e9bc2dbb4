"""Opening a work tree and telling its changes: real git on both sides."""

import base64
import subprocess
from pathlib import Path

import pytest

from services.agent.settings import Settings
from tests.agent.support import Client, Repo, serving


def git(root: Path, *args: str) -> str:
    done = subprocess.run(["git", *args], cwd=root, capture_output=True, check=True)
    return done.stdout.decode("utf-8", "replace").strip()


def apply_on_clean_clone(repo: Repo, base: str, patch: str, place: Path) -> Path:
    subprocess.run(["git", "clone", "-q", "--no-checkout", repo.url, str(place)], check=True, capture_output=True)
    git(place, "checkout", "-q", base)
    subprocess.run(["git", "apply", "--index"], cwd=place, input=base64.b64decode(patch), check=True)
    return place


async def test_open_without_a_remote_makes_an_empty_history(agent: Client) -> None:
    first = await agent.open()
    again = await agent.open()

    assert first["origin"] == "fresh"
    assert first["commit"] == again["commit"] == git(agent.root, "rev-parse", "HEAD")
    assert git(agent.root, "ls-tree", "HEAD") == ""
    assert git(agent.root, "status", "--porcelain") == ""


async def test_open_of_an_empty_repository_is_an_empty_tree_with_its_remote(agent: Client, repo: Repo) -> None:
    await agent.open(repo)

    assert git(agent.root, "remote", "get-url", "origin") == repo.url
    assert git(agent.root, "ls-tree", "HEAD") == ""


async def test_open_brings_files_full_history_and_a_clean_status(agent: Client, repo: Repo) -> None:
    first = repo.commit({"a.txt": "1\n", "dir/b.sh": "b\n"}, "first")
    second = repo.commit({"a.txt": "2\n"}, "second")
    reply = await agent.open(repo, second)

    assert reply["commit"] == second
    assert reply["origin"] == "fresh"
    assert reply["behind"] == 0
    assert (agent.root / "a.txt").read_text() == "2\n"
    assert git(agent.root, "log", "--format=%H").split() == [second, first]
    assert git(agent.root, "status", "--porcelain", "--branch") == "## moorage"


async def test_open_again_goes_to_the_new_target_when_nothing_changed_here(agent: Client, repo: Repo) -> None:
    first = repo.commit({"a": "1\n", ".gitignore": "cache/\n"})
    await agent.open(repo, first)
    (agent.root / "cache").mkdir()
    (agent.root / "cache/big").write_text("kept")
    second = repo.commit({"a": "2\n"})
    reply = await agent.open(repo, second)

    assert (reply["commit"], reply["origin"]) == (second, "fresh")
    assert (agent.root / "a").read_text() == "2\n"
    assert (agent.root / "cache/big").read_text() == "kept"


async def test_open_goes_on_with_undelivered_changes_and_says_how_far_behind(agent: Client, repo: Repo) -> None:
    first = repo.commit({"a": "1\n"})
    await agent.open(repo, first)
    (agent.root / "new").write_text("mine\n")
    repo.commit({"b": "1\n"})
    third = repo.commit({"b": "2\n"})
    reply = await agent.open(repo, third)

    assert (reply["commit"], reply["origin"], reply["behind"]) == (first, "workspace", 2)
    assert (agent.root / "new").read_text() == "mine\n"
    changes = await agent.changes()
    assert changes["base"] == first
    assert [file["path"] for file in changes["files"]] == ["new"]


async def test_delivered_changes_are_not_gone_on_with(agent: Client, repo: Repo) -> None:
    first = repo.commit({"a": "1\n2\n3\n4\n5\n6\n7\n8\n9\n"})
    await agent.open(repo, first)
    (agent.root / "a").write_text("1\n2\n3\n4\n5\n6\n7\n8\nnine\n")
    (agent.root / "new").write_text("mine\n")
    delivered = repo.commit({"a": "one\n2\n3\n4\n5\n6\n7\n8\nnine\n", "new": "mine\n"})
    reply = await agent.open(repo, delivered)

    assert (reply["commit"], reply["origin"]) == (delivered, "fresh")
    assert (agent.root / "a").read_text() == "one\n2\n3\n4\n5\n6\n7\n8\nnine\n"


async def test_a_fresh_start_sets_undelivered_changes_aside(agent: Client, repo: Repo) -> None:
    first = repo.commit({"a": "1\n"})
    await agent.open(repo, first)
    for number in (1, 2):
        (agent.root / "a").write_text(f"changed {number}\n")
        (agent.root / "new").write_text("mine\n")
        reply = await agent.open(repo, first, start="fresh")

        assert (reply["commit"], reply["origin"]) == (first, "fresh")
        assert (agent.root / "a").read_text() == "1\n"
        assert not (agent.root / "new").exists()
        aside = f"refs/moorage/aside/{number}"
        assert git(agent.root, "show", f"{aside}:a") == f"changed {number}"
        assert git(agent.root, "show", f"{aside}:new") == "mine"
        assert git(agent.root, "rev-parse", f"{aside}^") == first


async def test_commits_of_the_model_and_an_unfinished_merge_do_not_stop_a_fresh_start(
    agent: Client, repo: Repo
) -> None:
    first = repo.commit({"a": "1\n"})
    await agent.open(repo, first)
    await agent.exec(
        "git checkout -q -b side; echo side > a; git commit -qam side;"
        "git checkout -q moorage; echo other > a; git commit -qam other; git merge side; touch .git/index.lock"
    )
    reply = await agent.open(repo, first, start="fresh")

    assert reply["commit"] == first
    assert git(agent.root, "status", "--porcelain", "--branch") == "## moorage"
    assert (agent.root / "a").read_text() == "1\n"


async def test_files_before_the_first_open_of_a_scratch_tree_are_its_changes(settings: Settings) -> None:
    settings.root.mkdir()
    (settings.root / "here").write_text("first\n")
    async with serving(settings) as agent:
        reply = await agent.open()
        changes = await agent.changes()

    assert reply["origin"] == "workspace"
    assert [(file["path"], file["status"]) for file in changes["files"]] == [("here", "added")]


async def test_files_in_the_way_of_a_first_open_are_set_aside(agent: Client, repo: Repo) -> None:
    first = repo.commit({"a": "1\n"})
    (agent.root / "a").write_text("in the way\n")
    reply = await agent.open(repo, first)

    assert reply["origin"] == "fresh"
    assert (agent.root / "a").read_text() == "1\n"
    assert git(agent.root, "show", "refs/moorage/aside/1:a") == "in the way"


@pytest.mark.parametrize("damage", ["rm -rf .git/objects .git/HEAD", "rm -rf .git; echo gitdir: /etc > .git"])
async def test_a_broken_repository_is_made_anew(agent: Client, repo: Repo, damage: str) -> None:
    first = repo.commit({"a": "1\n"})
    await agent.open(repo, first)
    await agent.exec(damage)
    reply = await agent.open(repo, first)

    assert reply["commit"] == first
    assert git(agent.root, "status", "--porcelain") == ""


async def test_a_linked_git_folder_is_not_worked_in(agent: Client, repo: Repo, tmp_path: Path) -> None:
    first = repo.commit({"a": "1\n"})
    other = Repo(tmp_path / "other")
    kept = other.commit({"x": "1\n"})
    (agent.root / ".git").symlink_to(other.path / ".git")
    await agent.open(repo, first)

    assert other.git("rev-parse", "HEAD") == kept
    assert not (agent.root / ".git").is_symlink()


async def test_changes_of_every_kind_apply_on_a_clean_clone(agent: Client, repo: Repo, tmp_path: Path) -> None:
    many = "".join(f"line {number}\n" for number in range(30))
    base = repo.commit(
        {
            "edit": "a\nb\n",
            "mode": "x\n",
            "gone": "1\n2\n",
            "old-name": many,
            "binary": bytes(range(256)),
            "link": "file\n",
            "latin": b"caf\xe9\n",
            "no-newline": "end",
        }
    )
    await agent.open(repo, base)
    await agent.exec(
        r"""printf 'a\nB\nc\n' > edit; chmod +x mode; rm gone; mv old-name new-name; echo more >> new-name
        printf '\0\1\2\377' > binary; rm link; ln -s edit link; printf 'th\351\n' > latin; printf 'END' > no-newline
        mkdir -p deep/er; echo x > $'deep/er/caf\351'; echo y > $'two\nlines'; : > empty"""
    )
    changes = await agent.changes()

    keys = ("path", "status", "added", "removed", "binary")
    assert {tuple(file[key] for key in keys) for file in changes["files"]} == {
        ("edit", "modified", 2, 1, False),
        ("mode", "modified", 0, 0, False),
        ("gone", "deleted", 0, 2, False),
        ("new-name", "renamed", 1, 0, False),
        ("binary", "modified", 0, 0, True),
        ("link", "type_changed", 1, 1, False),
        ("latin", "modified", 1, 1, False),
        ("no-newline", "modified", 1, 1, False),
        (r'"deep/er/caf\351"', "added", 1, 0, False),
        (r'"two\nlines"', "added", 1, 0, False),
        ("empty", "added", 0, 0, False),
    }  # fmt: skip
    clone = apply_on_clean_clone(repo, base, changes["patch"], tmp_path / "clone")
    assert git(clone, "write-tree") == git(agent.root, "rev-parse", f"{changes['commit']}^{{tree}}")
    assert git(agent.root, "rev-parse", f"{changes['commit']}^", "refs/moorage/work").split() == [
        base,
        changes["commit"],
    ]


async def test_changes_leave_index_and_head_of_the_user_alone(agent: Client, repo: Repo) -> None:
    base = repo.commit({"a": "1\n", "b": "1\n"})
    await agent.open(repo, base)
    await agent.exec("echo 2 > a; git add a; echo 3 > a; echo 2 > b; echo n > new; git commit -qm mine; echo 4 >> new")
    before = git(agent.root, "status", "--porcelain=v2", "--branch")
    changes = await agent.changes()

    assert git(agent.root, "status", "--porcelain=v2", "--branch") == before
    assert [file["path"] for file in changes["files"]] == ["a", "b", "new"]


async def test_changes_of_an_untouched_tree_are_empty_and_repeat(agent: Client, repo: Repo) -> None:
    base = repo.commit({"a": "1\n"})
    await agent.open(repo, base)
    assert await agent.changes() == {"base": base, "commit": base, "files": [], "patch": ""}

    (agent.root / "a").write_text("2\n")
    assert await agent.changes() == await agent.changes()


async def test_what_tools_leave_behind_is_no_change_but_tracked_and_ignored_files_are(
    agent: Client, repo: Repo
) -> None:
    base = repo.commit({"node_modules/kept.js": "1\n", "m.py": "x = 1\n"})
    await agent.open(repo, base)
    await agent.exec(
        "mkdir -p __pycache__ .venv/lib .pytest_cache node_modules/x; touch __pycache__/m.pyc .venv/lib/a"
        " .pytest_cache/b node_modules/x/y; echo 2 > node_modules/kept.js; seq 1 100000"
    )
    changes = await agent.changes()

    assert [file["path"] for file in changes["files"]] == ["node_modules/kept.js"]
    assert git(agent.root, "status", "--porcelain") == "M node_modules/kept.js"


async def test_a_nested_repository_without_commits_does_not_hide_other_changes(agent: Client) -> None:
    await agent.open()
    await agent.exec("git init -q nested; echo x > a; echo y > z")

    assert [file["path"] for file in (await agent.changes())["files"]] == ["a", "z"]


async def test_a_hostile_configuration_runs_nothing_and_changes_no_patch(
    agent: Client, repo: Repo, tmp_path: Path
) -> None:
    base = repo.commit({"a": "1\n"})
    await agent.open(repo, base)
    ran = tmp_path / "ran"
    await agent.exec(
        f"""printf '#!/bin/sh\\ntouch {ran}\\n' > .git/evil; chmod +x .git/evil; mkdir -p .git/hooks
        for h in post-checkout post-commit pre-commit reference-transaction post-index-change; do
          cp .git/evil .git/hooks/$h; done
        e=$PWD/.git/evil; echo 2 > a
        git config core.fsmonitor $e; git config diff.external $e; git config core.pager $e
        git config diff.t.textconv $e
        git config core.sshCommand $e; git config core.editor $e; git config diff.noprefix true
        git config core.worktree /tmp; git config diff.t.command $e; echo '* diff=t' > .git/info/attributes
        git config uploadpack.packObjectsHook $e; rm -f {ran}"""
    )
    ran.unlink(missing_ok=True)
    changes = await agent.changes()
    for path in ("/git/status", "/git/diff", "/git/log", "/git/show"):
        await agent.post(path)
    await agent.open(repo, base, start="fresh")

    assert not ran.exists()
    assert b"--- a/a\n+++ b/a\n" in base64.b64decode(changes["patch"])


async def test_a_patch_over_the_limit_is_refused_and_names_the_biggest_files(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"patch_bytes": 2_000})) as agent:
        await agent.open()
        (agent.root / "big").write_text("".join(f"{number}\n" for number in range(2_000)))
        (agent.root / "small").write_text("x\n")
        response = await agent.raw("GET", "/changes")
        assert response.status_code == 413
        assert "Biggest: big (8,890 bytes), small" in response.json()["error"]["message"]

        (agent.root / "big").unlink()
        assert [file["path"] for file in (await agent.changes())["files"]] == ["small"]


@pytest.mark.parametrize(
    ("remote", "commit", "status", "code"),
    [
        ("https://user:secret@example.org/x", "0" * 40, 422, "invalid_field"),
        ("ext::sh -c touch% /tmp/x", "0" * 40, 422, "invalid_field"),
        ("--upload-pack=touch", "0" * 40, 422, "invalid_field"),
        ("ssh://example.org/x", "0" * 40, 422, "invalid_field"),
        ("file:///nowhere/at/all", "0" * 40, 502, "repository_unreachable"),
        (None, "0" * 40, 422, "invalid_field"),
        (None, "main", 422, "invalid_field"),
    ],
)
async def test_a_bad_remote_or_commit_is_refused(
    agent: Client, remote: str | None, commit: str, status: int, code: str
) -> None:
    refusal = await agent.refused("/open", remote=remote, commit=commit)

    assert refusal[:2] == (status, code)
    assert "secret" not in refusal[2]
    assert (await agent.open())["origin"] == "fresh"


async def test_a_commit_that_the_remote_does_not_have_is_ref_not_found(agent: Client, repo: Repo) -> None:
    repo.commit({"a": "1\n"})

    assert (await agent.refused("/open", remote=repo.url, commit="1" * 40))[:2] == (422, "ref_not_found")


async def test_production_allows_no_file_remote(settings: Settings, repo: Repo) -> None:
    commit = repo.commit({"a": "1\n"})
    async with serving(settings, protocols=("http", "https")) as agent:
        refusal = await agent.refused("/open", remote=repo.url, commit=commit)

    assert refusal[:2] == (422, "invalid_field")


async def test_changes_and_history_before_open_say_what_to_do(agent: Client) -> None:
    response = await agent.raw("GET", "/changes")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "not_ready")
    for path in ("/git/status", "/git/diff", "/git/log", "/git/show"):
        status, code, message = await agent.refused(path)
        assert (status, code) == (503, "not_ready")
        assert "/open" in message


async def test_status_diff_log_and_show_tell_what_is_there(agent: Client, repo: Repo) -> None:
    repo.commit({"a": "1\n"}, "first thing")
    base = repo.commit({"a": "2\n", "b": "1\n"}, "second thing")
    await agent.open(repo, base)
    await agent.exec("echo 3 > a; echo new > c")

    assert (await agent.post("/git/status"))["text"] == "## moorage\n M a\n?? c\n"
    diff = (await agent.post("/git/diff"))["text"]
    assert "-2\n+3\n" in diff
    assert "+new\n" in diff
    assert "+new" not in (await agent.post("/git/diff", path="a"))["text"]
    assert "-1\n+3\n" in (await agent.post("/git/diff", ref="HEAD~1"))["text"]
    log = (await agent.post("/git/log"))["text"].splitlines()
    assert [line.split(": ")[1] for line in log] == ["second thing", "first thing"]
    assert len((await agent.post("/git/log", limit=1))["text"].splitlines()) == 1
    shown = (await agent.post("/git/show"))["text"]
    assert "second thing" in shown
    assert "-1\n+2\n" in shown


@pytest.mark.parametrize("ref", ["--output=/tmp/x", "nosuch", "-p", "a b", "HEAD..nosuch"])
async def test_a_bad_ref_is_refused(agent: Client, repo: Repo, ref: str) -> None:
    await agent.open(repo, repo.commit({"a": "1\n"}))
    for path in ("/git/diff", "/git/log", "/git/show"):
        assert (await agent.refused(path, ref=ref))[:2] == (422, "ref_not_found")
    assert (await agent.refused("/git/log", path="../x"))[:2] == (422, "invalid_field")


async def test_long_git_output_is_cut(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"text_bytes": 1000})) as agent:
        await agent.open()
        (agent.root / "big").write_text("line\n" * 10_000)
        reply = await agent.post("/git/diff")

    assert reply["truncated"]
    assert len(reply["text"]) == 1000
