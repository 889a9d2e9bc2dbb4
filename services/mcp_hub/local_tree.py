"""A repository on this machine, uncommitted changes included, copied into a mirror. Never writes to it."""

import asyncio
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.mcp_hub.git_errors import own_words
from services.mcp_hub.git_process import Git, GitFailedError, Output, quoted
from services.mcp_hub.local_trust import LocalTrust, Places, invalid

_AUTHOR: Final = {
    "GIT_AUTHOR_NAME": "Moorage",
    "GIT_AUTHOR_EMAIL": "moorage@localhost",
    "GIT_COMMITTER_NAME": "Moorage",
    "GIT_COMMITTER_EMAIL": "moorage@localhost",
}
_MESSAGE: Final = "Uncommitted changes of the local work tree"
_QUICK_S: Final = 60.0
_ADDING: Final = {
    # A split index would be written beside the user's own one, not where ours is.
    "core.splitIndex": "false",
    "core.untrackedCache": "false",
    "core.safecrlf": "false",
    "advice.addEmbeddedRepo": "false",
}


@dataclass(frozen=True, slots=True)
class Head:
    """The commit a work tree is at, its tree, and its time in seconds."""

    commit: str
    tree: str
    time: str


@dataclass(frozen=True, slots=True)
class LocalRepository:
    """Where a local repository keeps things; `top` is its work tree, or the repository itself when bare."""

    top: Path
    bare: bool
    objects: Path
    index: Path
    head: Head | None
    branch: str | None
    left_out: Path | None
    """What of the work tree is not the user's: the stack's own state, where it is inside."""


async def open_repository(git: Git, text: str, trust: LocalTrust) -> LocalRepository:
    """Return the repository a local path belongs to.

    Raises:
        ServiceError: `invalid_field` when there is none, saying what to do.
    """
    path = Path(text)
    if not path.is_absolute() or "\n" in text or "\0" in text:
        raise invalid(f"{text!r} is not an absolute path")
    if not await asyncio.to_thread(path.is_dir):
        raise invalid(f"there is no directory {path}")
    await asyncio.to_thread(trust.require_outside, path)
    try:
        places, objects, index = await _places(git, path)
    except GitFailedError as error:
        if "not a git repository" in error.stderr:
            message = f"{path} is a directory but not a git repository; run `git init` in it, then try again"
            raise invalid(message) from error
        if "dubious ownership" in error.stderr:
            trusted = f"git config --global --add safe.directory {path}"
            raise invalid(f"{path} belongs to another account; if you trust it, run `{trusted}`") from error
        raise invalid(f"git cannot read {path}: {own_words(error.stderr)}") from error
    await asyncio.to_thread(trust.require, places)
    top = places.top
    left_out = trust.state_dir.relative_to(top) if trust.state_dir.is_relative_to(top) else None
    return LocalRepository(top, places.bare, objects, index, await _head(git, top), await _branch(git, top), left_out)


async def _places(git: Git, path: Path) -> tuple[Places, Path, Path]:
    """Return where the repository of a folder is, its objects and its index; git runs nothing to tell that."""
    places = ("--git-path", "objects", "--git-path", "index", "--git-dir", "--git-common-dir")
    asked = ("rev-parse", "--path-format=absolute", *places)
    found = await git.run(*asked, "--show-toplevel", directory=path, timeout_s=_QUICK_S, check=False)
    if found.code == 0:
        objects, index, git_dir, common, top = found.text.split("\n")
        return Places(Path(top), False, Path(git_dir), Path(common)), Path(objects), Path(index)
    found = await git.run(*asked, "--is-bare-repository", directory=path, timeout_s=_QUICK_S)
    objects, index, git_dir, common, bare = found.text.split("\n")
    if bare != "true":
        raise invalid(f"{path} is inside a .git directory; give the work tree above it")
    return Places(path, True, Path(git_dir), Path(common)), Path(objects), Path(index)


async def _head(git: Git, top: Path) -> Head | None:
    asked = ("rev-list", "--max-count=1", "--format=%H%n%T%n%ct", "HEAD", "--")
    found = await git.run(*asked, directory=top, timeout_s=_QUICK_S, check=False)
    return Head(*found.text.split("\n")[1:4]) if found.code == 0 else None


async def _branch(git: Git, top: Path) -> str | None:
    found = await git.run("symbolic-ref", "--quiet", "--short", "HEAD", directory=top, timeout_s=_QUICK_S, check=False)
    return found.text or None


async def find_commit(git: Git, repository: LocalRepository, ref: str) -> str | None:
    """Return the commit a ref means in the local repository, None when it means none."""
    found = await git.run(
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        f"{ref}^{{commit}}",
        directory=repository.top,
        timeout_s=_QUICK_S,
        check=False,
    )
    return found.text if re.fullmatch(r"[0-9a-f]{40,64}", found.text) else None


async def commit_changes(git: Git, repository: LocalRepository, mirror: Path, *, timeout_s: float) -> str | None:
    """Return a commit in the mirror with the tree as it is on disk, None when that is what HEAD says.

    An unchanged tree gives the same commit again.
    """
    scratch = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=".local-", dir=mirror.parent))
    try:
        env = await asyncio.to_thread(_scratch_environment, repository, mirror, scratch)
        snapshot = _Snapshot(git, repository, env, timeout_s)
        tree = await snapshot.write_tree()
        if tree is None:
            return None
        commit = await snapshot.commit(tree)
        await snapshot.copy(commit, mirror)
        return commit
    finally:
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)


def _scratch_environment(repository: LocalRepository, mirror: Path, scratch: Path) -> dict[str, str]:
    (scratch / "objects").mkdir()
    if repository.index.exists():
        # copy2 keeps the time stamp: git trusts a cached entry only if it is older than the index.
        shutil.copy2(repository.index, scratch / "index")
    alternates = os.pathsep.join((quoted(repository.objects), quoted(mirror / "objects")))
    return {
        "GIT_INDEX_FILE": str(scratch / "index"),
        "GIT_OBJECT_DIRECTORY": str(scratch / "objects"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": alternates,
    }


class _Snapshot:
    """Commands on the work tree whose index and new objects are in a scratch folder."""

    def __init__(self, git: Git, repository: LocalRepository, env: dict[str, str], timeout_s: float) -> None:
        self._git = git
        self._repository = repository
        self._env = env
        self._timeout_s = timeout_s

    async def write_tree(self) -> str | None:
        """Return the tree on disk, None when HEAD has it."""
        top, head = self._repository.top, self._repository.head
        left_out = self._repository.left_out
        # Without it the stack's own secrets would go into a sandbox.
        only = () if left_out is None else ("--", ":/", f":(top,exclude,literal){left_out}")
        added = await self._run("add", "--all", "--ignore-errors", *only, config=_ADDING, check=False)
        # 1 is files nobody may read: the rest is still what the user means.
        if added.code not in (0, 1):
            raise invalid(f"the uncommitted changes of {top} cannot be read: {own_words(added.stderr)}")
        tree = (await self._run("write-tree")).text
        if head is None:
            return tree if (await self._run("ls-tree", tree)).text else None
        return tree if tree != head.tree else None

    async def commit(self, tree: str) -> str:
        """Return a commit of the tree on top of HEAD."""
        head = self._repository.head
        parents = ["-p", head.commit] if head else []
        # The parent's time instead of now: the same tree then makes the same commit.
        when = head.time if head else "0"
        dates = {"GIT_AUTHOR_DATE": f"@{when} +0000", "GIT_COMMITTER_DATE": f"@{when} +0000"}
        config = {"i18n.commitEncoding": "UTF-8"}
        made = await self._run("commit-tree", tree, *parents, "-m", _MESSAGE, config=config, env={**_AUTHOR, **dates})
        return made.text

    async def copy(self, commit: str, mirror: Path) -> None:
        """Put the commit, and every object it needs beyond HEAD, into the mirror."""
        there = await self._git.run("cat-file", "-e", commit, directory=mirror, timeout_s=_QUICK_S, check=False)
        if there.code == 0:
            return
        # One pack, with the objects the user has only staged too: the mirror must not need them later.
        head = self._repository.head
        wanted = f"{commit}\n" + (f"^{head.commit}\n" if head else "")
        pack = str(mirror / "objects" / "pack" / "pack")
        await self._run("pack-objects", "--revs", "--quiet", pack, stdin=wanted.encode())
        await self._git.run("update-ref", "refs/moorage/local", commit, directory=mirror, timeout_s=_QUICK_S)

    async def _run(
        self,
        *arguments: str,
        config: dict[str, str] | None = None,
        env: dict[str, str] | None = None,
        stdin: bytes = b"",
        check: bool = True,
    ) -> Output:
        return await self._git.run(
            *arguments,
            directory=self._repository.top,
            config=config,
            env={**self._env, **(env or {})},
            stdin=stdin,
            check=check,
            timeout_s=self._timeout_s,
        )
