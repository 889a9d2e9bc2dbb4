"""Local repositories git is not run in: the stack's own trees, and those whose parts lie somewhere else."""

import os
from pathlib import Path

import pytest

from services.wire.errors import ErrorCode
from tests.mcp_hub.support import WORKSPACE, Hub, git


def refused(hub: Hub, path: Path) -> str:
    response = hub.mirror(path, local=True)
    assert response.status_code == 422, response.text
    assert response.json()["error"]["code"] == ErrorCode.INVALID_FIELD
    message: str = response.json()["error"]["message"]
    return message


def hostile(path: Path, marker: Path) -> Path:
    """A repository whose configuration runs a program on whoever adds its files."""
    path.mkdir(parents=True)
    git(path, "init", "-q", "-b", "main")
    (path / ".gitattributes").write_text("* filter=own\n")
    git(path, "config", "filter.own.clean", f"touch '{marker}'; cat")
    (path / "new.txt").write_text("x")
    return path


def test_the_stacks_own_trees_are_refused_however_they_are_named(hub: Hub, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    tree = hostile(hub.state_dir / "workspaces" / WORKSPACE / "tree", marker)
    link = tmp_path / "link"
    link.symlink_to(tree)
    pointing = tmp_path / "pointing"
    pointing.mkdir()
    (pointing / ".git").write_text(f"gitdir: {tree / '.git'}\n")
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / ".git").symlink_to(tree / ".git")
    redirected = tmp_path / "redirected"
    redirected.mkdir()
    git(redirected, "init", "-q")
    git(redirected, "config", "core.worktree", str(tree))
    registered = tmp_path / "registered"
    git(tree, "commit", "-q", "--allow-empty", "-m", "first")
    git(tree, "worktree", "add", "-q", "--detach", str(registered))
    for path in (tree, link, pointing, linked, redirected, registered, tree.parent / "tree" / ".git"):
        assert "the stack's own" in refused(hub, path), path
    assert not marker.exists()


def test_a_tree_of_another_stack_is_refused_too(hub: Hub, tmp_path: Path) -> None:
    tree = hostile(tmp_path / "second home" / "workspaces" / WORKSPACE / "tree", tmp_path / "ran")
    assert "the stack's own" in refused(hub, tree)


def test_a_mirror_is_no_local_repository(hub: Hub, repository: Path) -> None:
    assert hub.mirror(repository, local=True).status_code == 200
    assert "the stack's own" in refused(hub, hub.state_dir / "mirrors" / f"{WORKSPACE}.git")


@pytest.mark.parametrize("elsewhere", ["../..", "../../other"])
def test_a_work_tree_that_is_configured_elsewhere_is_refused(hub: Hub, repository: Path, elsewhere: str) -> None:
    (repository.parent / "other").mkdir()
    git(repository, "config", "core.worktree", elsewhere)
    assert "core.worktree" in refused(hub, repository)


def test_a_work_tree_configured_to_be_where_it_is_works(hub: Hub, repository: Path) -> None:
    git(repository, "config", "core.worktree", str(repository))
    assert hub.mirror(repository, local=True).status_code == 200


def test_a_git_file_counts_only_when_its_repository_knows_the_work_tree(hub: Hub, repository: Path) -> None:
    tree = repository.parent / "tree"
    git(repository, "worktree", "add", "-q", "--detach", str(tree))
    assert hub.mirror(tree, local=True).status_code == 200
    copied = repository.parent / "copied"
    copied.mkdir()
    (copied / ".git").write_text((tree / ".git").read_text())
    assert "git worktree repair" in refused(hub, copied)
    borrowed = repository.parent / "borrowed"
    borrowed.mkdir()
    (borrowed / ".git").write_text(f"gitdir: {repository / '.git'}\n")
    assert "git worktree repair" in refused(hub, borrowed)


def test_a_registered_work_tree_may_be_named_by_a_relative_path(hub: Hub, repository: Path) -> None:
    tree = repository.parent / "tree"
    git(repository, "worktree", "add", "-q", "--detach", str(tree))
    inside = repository / ".git" / "worktrees" / "tree"
    (inside / "gitdir").write_text(os.path.relpath(tree / ".git", inside) + "\n")
    (tree / ".git").write_text("gitdir: ../repository/.git/worktrees/tree\n")
    assert hub.mirror(tree, local=True).status_code == 200


def test_a_submodule_is_refused_in_words(hub: Hub, repository: Path) -> None:
    outer = repository.parent / "outer"
    git(repository.parent, "init", "-q", str(outer))
    git(outer, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(repository), "lib")
    assert "submodule" in refused(hub, outer / "lib")


def test_filters_of_the_users_own_checkout_run(hub: Hub, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    mine = hostile(tmp_path / "mine", marker)
    assert hub.mirror(mine, local=True).status_code == 200
    assert marker.exists()


def test_the_stacks_state_inside_a_repository_is_left_out(hub: Hub, tmp_path: Path) -> None:
    around = hub.state_dir.parent
    git(around, "init", "-q", "-b", "main")
    (around / "mine.txt").write_text("mine")
    hub.state_dir.mkdir(exist_ok=True)
    (hub.state_dir / "token").write_text("hush")
    commit = hub.mirror(around, local=True).json()["commit"]
    mirror = hub.state_dir / "mirrors" / f"{WORKSPACE}.git"
    names = git(mirror, "ls-tree", "-r", "--name-only", commit).splitlines()
    assert "mine.txt" in names
    assert not [name for name in names if name.startswith(f"{hub.state_dir.name}/")]
