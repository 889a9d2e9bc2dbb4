"""`--apply` and `apply` on real repositories: all of a patch, or nothing."""

import subprocess
from pathlib import Path

import pytest

from services.local.__main__ import main
from tests.local.conftest import OrchestratorDouble

BEFORE = "".join(f"line {number}\n" for number in range(20))
CHANGE = {"path": "big.txt", "status": "modified", "added": 1, "removed": 1}


def git(place: Path, *arguments: str) -> bytes:
    identity = ["-c", "user.name=n", "-c", "user.email=e@x", "-c", "init.defaultBranch=main"]
    return subprocess.run(["git", *identity, *arguments], cwd=place, capture_output=True, check=True).stdout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOORAGE_HOME", str(tmp_path / "home"))
    root = tmp_path / "work" / "my repository"
    root.mkdir(parents=True)
    git(root, "init")
    (root / "big.txt").write_text(BEFORE)
    (root / "other.txt").write_text("other\n")
    (root / "blob.bin").write_bytes(bytes(range(256)))
    git(root, "add", ".")
    git(root, "commit", "-m", "first")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def patch(repository: Path) -> bytes:
    """A patch to the text, the binary and a new file whose name git quotes."""
    (repository / "big.txt").write_text(BEFORE.replace("line 10\n", "line ten\n"))
    (repository / "blob.bin").write_bytes(bytes(reversed(range(256))))
    (repository / "näme\twith tab").write_text("new\n")
    git(repository, "add", "--intent-to-add", ".")
    made = git(repository, "diff", "--binary")
    git(repository, "reset", "--hard")
    git(repository, "clean", "-fd")
    return made


def state(repository: Path) -> dict[str, bytes]:
    files = {
        str(path): path.read_bytes() for path in repository.rglob("*") if path.is_file() and ".git" not in path.parts
    }
    return {**files, "index": git(repository, "ls-files", "--stage"), "head": git(repository, "rev-parse", "HEAD")}


def test_run_applies_what_the_task_changed_and_names_the_files(
    orchestrator: OrchestratorDouble, repository: Path, patch: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    orchestrator.will_succeed(patch=patch, result={"changes": {"files": [CHANGE]}})
    index = git(repository, "ls-files", "--stage")
    assert main(["run", "q", "-q", "--repo", ".", "--apply"]) == 0
    assert "line ten\n" in (repository / "big.txt").read_text()
    assert (repository / "blob.bin").read_bytes() == bytes(reversed(range(256)))
    assert (repository / "näme\twith tab").read_text() == "new\n"
    assert git(repository, "ls-files", "--stage") == index
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"applied to {repository}:"
    assert sorted(lines[1:]) == ["  big.txt  +1 -1", "  blob.bin  binary", "  näme with tab  +1 -0"]


def test_a_later_apply_merges_into_edits_that_moved_the_context(
    orchestrator: OrchestratorDouble, repository: Path, patch: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    script = orchestrator.will_succeed(patch=patch)
    (repository / "big.txt").write_text(BEFORE.replace("line 8\n", "my own line 8\n"))
    objects = git(repository, "count-objects")
    assert main(["apply", script.id[:8]]) == 0
    text = (repository / "big.txt").read_text()
    assert "my own line 8\n" in text
    assert "line ten\n" in text
    assert git(repository, "count-objects") == objects
    assert capsys.readouterr().err.startswith("merged into ")


def test_a_patch_that_conflicts_touches_nothing_and_is_saved_beside(
    orchestrator: OrchestratorDouble, repository: Path, patch: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    script = orchestrator.will_succeed(patch=patch, result={"changes": {"files": [CHANGE]}})
    (repository / "big.txt").write_text(BEFORE.replace("line 10\n", "my own ten\n"))
    before = state(repository)
    assert main(["run", "q", "-q", "--repo", str(repository), "--apply"]) == 1
    assert state(repository) == before
    captured = capsys.readouterr()
    assert captured.out == "It is a harbour.\n"
    (saved,) = repository.parent.glob(f"moorage-{script.id[:8]}-*.patch")
    assert saved.read_bytes() == patch
    assert f"try: git -C '{repository}' apply --3way {saved}" in captured.err


def test_a_new_file_never_replaces_an_untracked_one(
    orchestrator: OrchestratorDouble, repository: Path, patch: bytes
) -> None:
    script = orchestrator.will_succeed(patch=patch)
    (repository / "näme\twith tab").write_text("mine\n")
    before = state(repository)
    assert main(["apply", script.id]) == 1
    assert state(repository) == before


def test_a_patch_that_is_there_already_is_said_to_be(
    orchestrator: OrchestratorDouble, repository: Path, patch: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    script = orchestrator.will_succeed(patch=patch)
    assert main(["apply", script.id]) == 0
    git(repository, "add", "--all")
    capsys.readouterr()
    assert main(["apply", script.id]) == 0
    assert "already applied" in capsys.readouterr().err


def test_a_second_apply_without_an_add_between_changes_nothing_and_is_no_error(
    orchestrator: OrchestratorDouble, repository: Path, patch: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    script = orchestrator.will_succeed(patch=patch)
    assert main(["apply", script.id]) == 0
    before = state(repository)
    capsys.readouterr()
    assert main(["apply", script.id]) == 0
    assert capsys.readouterr().err == f"already applied: {repository} has these changes\n"
    assert state(repository) == before


def test_the_server_is_told_what_was_applied_and_not_what_does_not_fit(
    orchestrator: OrchestratorDouble, repository: Path, patch: bytes
) -> None:
    first, second, unfit = (orchestrator.will_succeed(patch=patch) for _ in range(3))
    first.result["changes"] = {"files": [CHANGE]}
    assert main(["run", "q", "-q", "--repo", ".", "--apply"]) == 0
    assert main(["apply", second.id]) == 0
    (repository / "big.txt").write_text(BEFORE.replace("line 10\n", "my own ten\n"))
    assert main(["apply", unfit.id]) == 1
    assert orchestrator.delivered == [first.id, second.id]


def test_a_server_that_cannot_be_told_is_a_warning_only(
    orchestrator: OrchestratorDouble, repository: Path, patch: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    orchestrator.knows_delivered = False
    script = orchestrator.will_succeed(patch=patch)
    assert main(["apply", script.id]) == 0
    assert "line ten\n" in (repository / "big.txt").read_text()
    assert "warning: the changes are applied, but the server" in capsys.readouterr().err


def test_a_url_is_applied_to_its_clone_around_us_only(
    orchestrator: OrchestratorDouble, repository: Path, patch: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "https://Host.example/owner/name.git"
    assert main(["run", "q", "--repo", url, "--apply"]) == 2
    assert "is not a clone of that repository" in capsys.readouterr().err
    assert orchestrator.posted == []
    git(repository, "remote", "add", "upstream", "git@host.example:owner/name")
    orchestrator.will_succeed(patch=patch, result={"changes": {"files": [CHANGE]}})
    assert main(["run", "q", "-q", "--repo", url, "--apply"]) == 0
    assert "line ten\n" in (repository / "big.txt").read_text()


def test_the_whole_work_tree_is_meant_from_inside_a_folder_of_it(
    orchestrator: OrchestratorDouble, repository: Path, patch: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = orchestrator.will_succeed(patch=patch)
    (repository / "folder").mkdir()
    monkeypatch.chdir(repository / "folder")
    monkeypatch.setenv("GIT_DIR", str(repository.parent / "elsewhere"))
    assert main(["apply", script.id]) == 0
    assert "line ten\n" in (repository / "big.txt").read_text()


def test_a_place_without_a_repository_is_a_usage_error(
    orchestrator: OrchestratorDouble, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = orchestrator.will_succeed()
    assert main(["apply", script.id, "--repo", str(repository.parent)]) == 2
    assert "is not in a git work tree" in capsys.readouterr().err


def test_a_task_that_changed_nothing_applies_as_nothing(
    orchestrator: OrchestratorDouble, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    orchestrator.will_succeed()
    before = state(repository)
    assert main(["run", "q", "-q", "--repo", ".", "--apply"]) == 0
    assert state(repository) == before
    assert "nothing to apply" in capsys.readouterr().err
