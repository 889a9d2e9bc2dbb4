"""A task's patch in a local repository: all of it or nothing. Knows git, and no server.

First as it is. Where the files have moved on, git merges it in a scratch index with a scratch object store, and only
what merged without a conflict is applied; the repository's own index is never touched.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from services.local.cli_errors import CliError, ExitCode
from services.local.home import environment

_GIT_LIMIT_S = 120
_QUIET = ("--whitespace=nowarn",)
_OF_ONE_REPOSITORY = {
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
}


@dataclass(frozen=True, slots=True)
class AppliedFile:
    """One file that was written; counts of lines are None for a binary one."""

    path: str
    added: int | None
    removed: int | None


@dataclass(frozen=True, slots=True)
class Applied:
    """What was written, nothing when all of it was there before; and whether it had to be merged."""

    files: list[AppliedFile]
    merged: bool


def target_of(repository: str | None, place: Path) -> Path:
    """Return the work tree that a task's changes of `repository` belong into: itself, or its clone around `place`.

    Raises:
        CliError: there is none.
    """
    if repository is None:
        raise CliError("--apply writes to a local repository; name it with --repo.", ExitCode.USAGE)
    if repository.startswith("/"):
        return work_tree(Path(repository))
    return work_tree_of(repository, place)


def work_tree(place: Path) -> Path:
    """Return the root of the git work tree that holds a path.

    Raises:
        CliError: there is none.
    """
    found = _git(place, "rev-parse", "--show-toplevel")
    root = found.stdout.removesuffix(b"\n")
    if found.returncode or not root:
        raise CliError(f"{place} is not in a git work tree; name one with --repo.", ExitCode.USAGE)
    return Path(root.decode("utf-8", "surrogateescape"))


def work_tree_of(url: str, place: Path) -> Path:
    """Return the work tree around `place` if one of its remotes is the repository at `url`.

    Raises:
        CliError: it is not.
    """
    from services.orchestrator.domain import BadRepository, parse_repo_url  # noqa: PLC0415 - quick start

    def identity(address: str) -> str | None:
        try:
            return parse_repo_url(address).canonical
        except BadRepository:
            return None

    wanted = identity(url)
    root = work_tree(place)
    lines = _git(root, "remote", "-v").stdout.decode("utf-8", "replace").splitlines()
    remotes = {identity(line.partition("\t")[2].rpartition(" ")[0]) for line in lines}
    if wanted is None or wanted not in remotes:
        raise CliError(f"{root} is not a clone of that repository; run this in one, or apply later.", ExitCode.USAGE)
    return root


def apply_patch(root: Path, patch: bytes, *, name: str) -> Applied:
    """Write a patch into the work tree at `root`; when it does not fit, nothing is touched.

    Raises:
        CliError: it does not fit; it was saved under a file name with `name`, and the message says what to try.
    """
    merged = False
    checked = _git(root, "apply", "--check", *_QUIET, "-", stdin=patch)
    if checked.returncode:
        if _git(root, "apply", "--reverse", "--check", *_QUIET, "-", stdin=patch).returncode == 0:
            return Applied([], merged)
        moved = _merged(root, patch)
        if moved is None:
            raise _unfit(root, patch, name, _first_line(checked.stderr))
        patch, merged = moved, True
    if not patch:
        return Applied([], merged)
    written = _git(root, "apply", *_QUIET, "-", stdin=patch)
    if written.returncode:
        raise _unfit(root, patch, name, _first_line(written.stderr))
    return Applied(_files(root, patch), merged)


def _merged(root: Path, patch: bytes) -> bytes | None:
    """Return the patch as it reads on top of the work tree, or None when it conflicts with it."""
    with tempfile.TemporaryDirectory(prefix="moorage-apply-") as scratch:
        index = Path(scratch) / "index"
        objects = Path(scratch) / "objects"
        objects.mkdir()
        own = _path(root, "index")
        if own.exists():
            shutil.copyfile(own, index)
        env = {
            "GIT_INDEX_FILE": str(index),
            "GIT_OBJECT_DIRECTORY": str(objects),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(_path(root, "objects")),
        }
        before = _tree(root, env)
        if before is None or _git(root, "apply", "--cached", "--3way", *_QUIET, "-", stdin=patch, env=env).returncode:
            return None
        after = _git(root, "write-tree", env=env).stdout.decode().strip()
        plain = ("-p", "--binary", "--full-index", "--no-ext-diff", "--no-textconv")
        moved = _git(root, "diff-tree", *plain, before, after, env=env)
    if moved.returncode or _needs(root, moved.stdout):
        return None
    return moved.stdout


def _tree(root: Path, env: Mapping[str, str]) -> str | None:
    """Return the tree of the tracked files as they are on disk, written to the scratch store."""
    if _git(root, "add", "--update", ":/", env=env).returncode:
        return None
    written = _git(root, "write-tree", env=env)
    return None if written.returncode else written.stdout.decode().strip()


def _needs(root: Path, patch: bytes) -> bool:
    return bool(patch) and _git(root, "apply", "--check", *_QUIET, "-", stdin=patch).returncode != 0


def _files(root: Path, patch: bytes) -> list[AppliedFile]:
    listed = _git(root, "apply", "--numstat", "-z", "-", stdin=patch).stdout
    files = []
    for row in listed.split(b"\0"):
        if row.count(b"\t") >= 2:
            added, removed, path = row.split(b"\t", 2)
            counts = [None if count == b"-" else int(count) for count in (added, removed)]
            files.append(AppliedFile(path.decode("utf-8", "surrogateescape"), *counts))
    return files


def _unfit(root: Path, patch: bytes, name: str, reason: str) -> CliError:
    saved = _save(root, patch, name)
    command = f"git -C {quote(str(root))} apply --3way {quote(str(saved))}"
    return CliError(f"The patch does not fit {root} ({reason}); nothing was touched. It is saved; try: {command}")


def _save(root: Path, patch: bytes, name: str) -> Path:
    """Write the patch beside the work tree, or among the temporary files when that folder is not ours."""
    for folder in (root.parent, Path(tempfile.gettempdir())):
        try:
            with tempfile.NamedTemporaryFile(prefix=f"{name}-", suffix=".patch", dir=folder, delete=False) as file:
                file.write(patch)
                return Path(file.name)
        except OSError:
            continue
    raise CliError(f"The patch fits not, and there is no place to save it; free some space near {root}.")


def _path(root: Path, name: str) -> Path:
    found = _git(root, "rev-parse", "--git-path", name).stdout.removesuffix(b"\n")
    return root / found.decode("utf-8", "surrogateescape")


def _first_line(output: bytes) -> str:
    lines = output.decode("utf-8", "replace").strip().splitlines()
    return lines[0].removeprefix("error: ") if lines else "git does not say why"


def _git(
    place: Path, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    # A git hook may have started us: its repository is not the one that is meant.
    inherited = {name: value for name, value in environment().items() if name not in _OF_ONE_REPOSITORY}
    try:
        return subprocess.run(
            ["git", "-C", str(place), *arguments],
            input=stdin,
            capture_output=True,
            timeout=_GIT_LIMIT_S,
            check=False,
            env={**inherited, "LC_ALL": "C", **(env or {})},
        )
    except FileNotFoundError as error:
        raise CliError("git is not installed; `./moorage doctor` says how to.", ExitCode.USAGE) from error
    except subprocess.TimeoutExpired as error:
        raise CliError(f"git did not finish in {_GIT_LIMIT_S} s in {place}; try again.") from error
