"""Repositories on this machine: uncommitted changes are seen, and nothing of the user's is written."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from services.wire.errors import ErrorCode
from tests.mcp_hub.support import WORKSPACE, Hub, git


def fingerprint(folder: Path) -> dict[str, str]:
    """Every file below a folder, with its content's hash."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def mirror_of(hub: Hub) -> Path:
    return hub.state_dir / "mirrors" / f"{WORKSPACE}.git"


def test_a_clean_tree_starts_from_its_head(hub: Hub, repository: Path) -> None:
    reply = hub.mirror(repository, local=True).json()
    assert reply["commit"] == git(repository, "rev-parse", "HEAD")
    assert (reply["ref"], reply["dirty"]) == ("main", False)
    assert hub.mirror(repository, local=True).json()["ms"] < 2_000


def test_uncommitted_changes_are_one_commit_that_an_unchanged_tree_gives_again(hub: Hub, repository: Path) -> None:
    (repository / "README.md").write_text("# Changed\n")
    (repository / "code.py").unlink()
    (repository / "ignored.txt").write_text("no")
    (repository / "staged.txt").write_text("staged only\n")
    git(repository, "add", "staged.txt")
    (repository / "a\nb \xe9").write_text("odd name")
    before = fingerprint(repository)
    reply = hub.mirror(repository, local=True).json()
    assert reply["dirty"] is True
    assert fingerprint(repository) == before
    again = hub.mirror(repository, local=True).json()
    assert again["commit"] == reply["commit"]
    mirror = mirror_of(hub)
    assert git(mirror, "rev-parse", f"{reply['commit']}^") == git(repository, "rev-parse", "HEAD")
    shutil.rmtree(repository)
    git(mirror, "fsck", "--strict", "--no-dangling", reply["commit"])
    listed = git(mirror, "ls-tree", "-rz", "--name-only", reply["commit"]).split("\0")
    assert set(filter(None, listed)) == {".gitignore", "README.md", "staged.txt", "a\nb \xe9"}
    assert git(mirror, "show", f"{reply['commit']}:staged.txt") == "staged only"


def test_a_change_in_the_same_second_and_size_is_seen(hub: Hub, repository: Path) -> None:
    (repository / "code.py").write_text("print(2)\n")
    commit = hub.mirror(repository, local=True).json()["commit"]
    assert git(mirror_of(hub), "show", f"{commit}:code.py") == "print(2)"
    (repository / "code.py").write_text("print(3)\n")
    commit = hub.mirror(repository, local=True).json()["commit"]
    assert git(mirror_of(hub), "show", f"{commit}:code.py") == "print(3)"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_repository_of_another_account_is_refused_with_the_way_to_trust_it(hub: Hub, repository: Path) -> None:
    os.chown(repository, 12345, 12345)
    os.chown(repository / ".git", 12345, 12345)
    response = hub.mirror(repository, local=True)
    assert response.status_code == 422
    message = response.json()["error"]["message"]
    assert "belongs to another account" in message
    assert f"safe.directory {repository}" in message


def test_a_named_ref_leaves_uncommitted_changes_out(hub: Hub, repository: Path) -> None:
    (repository / "README.md").write_text("# Changed\n")
    for ref in ("main", "HEAD", git(repository, "rev-parse", "--short", "HEAD")):
        reply = hub.mirror(repository, local=True, ref=ref).json()
        assert (reply["commit"], reply["dirty"]) == (git(repository, "rev-parse", "HEAD"), False)
    wrong = hub.mirror(repository, local=True, ref="mian").json()["error"]
    assert wrong["code"] == ErrorCode.REF_NOT_FOUND


def test_files_of_a_repository_without_commits_are_its_first_commit(hub: Hub, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    git(fresh, "init", "-q", "-b", "main")
    assert hub.mirror(fresh, local=True).json()["commit"] is None
    (fresh / "a.txt").write_text("a")
    reply = hub.mirror(fresh, local=True).json()
    assert reply["dirty"] is True
    assert git(mirror_of(hub), "log", "--format=%s", reply["commit"]).count("\n") == 0
    assert git(mirror_of(hub), "show", f"{reply['commit']}:a.txt") == "a"


def test_a_subdirectory_a_worktree_and_a_bare_repository_work(hub: Hub, repository: Path, tmp_path: Path) -> None:
    (repository / "src").mkdir()
    (repository / "src" / "new.py").write_text("1")
    dirty = hub.mirror(repository / "src", local=True).json()
    assert git(mirror_of(hub), "show", f"{dirty['commit']}:src/new.py") == "1"
    tree = tmp_path / "work tree:1"
    git(repository, "worktree", "add", "-q", "--detach", str(tree), "v1")
    (tree / "only-here.txt").write_text("x")
    detached = hub.mirror(tree, local=True).json()
    assert (detached["ref"], detached["dirty"]) == (None, True)
    assert git(mirror_of(hub), "rev-parse", f"{detached['commit']}^") == git(repository, "rev-parse", "v1")
    bare = tmp_path / "bare.git"
    git(repository, "clone", "-q", "--bare", str(repository), str(bare))
    assert hub.mirror(bare, local=True).json()["commit"] == git(repository, "rev-parse", "HEAD")


def test_a_detached_commit_no_branch_reaches_is_copied(hub: Hub, repository: Path) -> None:
    git(repository, "checkout", "-q", "--detach")
    git(repository, "commit", "-q", "--allow-empty", "-m", "alone")
    reply = hub.mirror(repository, local=True).json()
    assert reply["commit"] == git(repository, "rev-parse", "HEAD")
    assert git(mirror_of(hub), "cat-file", "-t", reply["commit"]) == "commit"


def test_hooks_monitors_and_nested_repositories_of_the_user_do_not_run(hub: Hub, repository: Path) -> None:
    marker = repository.parent / "ran"
    script = f"#!/bin/sh\ntouch '{marker}'\n"
    for name in ("pre-commit", "post-index-change", "reference-transaction"):
        hook = repository / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(script)
        hook.chmod(0o755)
    watcher = repository.parent / "watcher"
    watcher.write_text(script)
    watcher.chmod(0o755)
    git(repository, "config", "core.fsmonitor", str(watcher))
    nested = repository / "vendor" / "lib"
    nested.mkdir(parents=True)
    git(repository, "-c", "core.fsmonitor=false", "init", "-q", str(nested))
    marker.unlink(missing_ok=True)
    (repository / "new.txt").write_text("x")
    reply = hub.mirror(repository, local=True)
    assert reply.status_code == 200, reply.text
    assert not marker.exists()
    assert git(mirror_of(hub), "show", f"{reply.json()['commit']}:new.txt") == "x"


def test_what_is_no_repository_says_what_to_do(hub: Hub, repository: Path) -> None:
    (repository.parent / "plain").mkdir()
    wrong = {
        "plain": "run `git init`",
        "missing": "there is no directory",
        "repository/.git": "inside a .git directory",
    }
    for path, says in wrong.items():
        response = hub.mirror(repository.parent / path, local=True)
        assert response.status_code == 422
        assert response.json()["error"]["code"] == ErrorCode.INVALID_FIELD
        assert says in response.json()["error"]["message"]


def test_a_relative_path_is_invalid(hub: Hub) -> None:
    assert hub.mirror("etc", local=True).json()["error"]["code"] == ErrorCode.INVALID_FIELD
