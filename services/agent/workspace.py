"""The work tree as a run sees it: opened at a commit, compared with it, and never losing undelivered work.

`refs/moorage/base` is the commit the changes are counted from, `upstream` the newest target, `work` the last
committed state of the tree, `aside/<n>` what a fresh start set aside. All of it is done on a private index, so that
the user's own index, branch and HEAD stay as they are while a run works. Knows no shell and no HTTP.
"""

import asyncio
import base64
import shutil
import time
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from services.agent import difference
from services.agent.git import EMPTY_TREE, FETCH, Git, GitFailed
from services.chassis.errors import ServiceError
from services.wire.agent import ChangesReply, OpenReply, OpenRequest
from services.wire.errors import ErrorCode
from services.wire.tasks import FileChange

BASE = "refs/moorage/base"
UPSTREAM = "refs/moorage/upstream"
WORK = "refs/moorage/work"
ASIDE = "refs/moorage/aside"

_EPOCH = {"GIT_AUTHOR_DATE": "1970-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "1970-01-01T00:00:00Z"}


class Workspace:
    """Opens one work tree and tells what changed in it."""

    def __init__(self, git: Git, *, patch_bytes: int, fetch_timeout: float) -> None:
        self._git = git
        self._patch_bytes = patch_bytes
        self._fetch_timeout = fetch_timeout
        # Open, changes and diff share the private index.
        self._lock = asyncio.Lock()

    async def require(self) -> None:
        """Raise not_ready unless the work tree was opened."""
        if not self._git.exists():
            raise ServiceError(ErrorCode.NOT_READY, "The work tree is not open; call /open first.")

    async def base(self) -> str:
        """Return the commit changes are counted from.

        Raises:
            ServiceError: not_ready before the first open.
        """
        base = await self._git.resolve(BASE)
        if base is None:
            raise ServiceError(ErrorCode.NOT_READY, "The work tree is not open; call /open first.")
        return base

    async def open(self, request: OpenRequest) -> OpenReply:
        """Bring the tree to where a run starts: on with undelivered changes, or at the request's commit.

        The reply's commit is what the run's changes will be counted from: the old base when it goes on.

        Raises:
            ServiceError: repository_unreachable, repository_forbidden, ref_not_found, invalid_field, timeout.
        """
        started = time.monotonic()
        async with self._lock:
            await self._prepare(request.remote)
            target = await self._target(request)
            base = await self._git.resolve(BASE)
            if base is None and self._is_bare():
                await self._move_to(target)
                return _reply(target, "fresh", 0, started)
            if base is None and request.commit is None:
                base = target  # files that were here before the first open of a scratch tree are its changes
            work = await self._snapshot(base or EMPTY_TREE)
            undelivered = await self._undelivered(base, work, target, request.delivered)
            if undelivered and base is not None and request.start == "workspace":
                await self._git.run("update-ref", BASE, base)
                behind = int(await self._git.line("rev-list", "--count", f"{base}..{target}"))
                return _reply(base, "workspace", behind, started)
            if undelivered:
                await self._set_aside(base, work)
            await self._move_to(target)
            return _reply(target, "fresh", 0, started)

    async def changes(self) -> ChangesReply:
        """Commit the tree under `refs/moorage/work` and return what it changes since the base.

        Raises:
            ServiceError: not_ready before the first open, too_large with the biggest files named.
        """
        await self.require()
        async with self._lock:
            base = await self.base()
            tree = await self._snapshot(base)
            commit = await self._commit(base, tree)
            files = await self._files(base, commit)
            patch = await self._git.run(*difference.PATCH, base, commit, limit=self._patch_bytes)
        if patch.cut:
            raise self._too_large(files)
        return ChangesReply(base=base, commit=commit, files=files, patch=base64.b64encode(patch.output).decode())

    async def snapshot(self) -> str:
        """Return the tree id of the work tree as it is, untracked files included, ignored ones not."""
        async with self._lock:
            return await self._snapshot(await self.base())

    async def _prepare(self, remote: str | None) -> None:
        if remote is not None:
            _check_remote(remote, self._git.protocols)
        if await self._usable():
            await asyncio.to_thread(self._git.exclude)
            if remote is not None:
                await self._name_remote(remote)
        else:
            await self._git.create(remote)

    async def _usable(self) -> bool:
        """Whether there is a sound repository; what stands in the way of a new one is removed."""
        git = self._git
        if git.exists():
            await asyncio.to_thread(git.unlock)
            if (await git.run("rev-parse", "--git-dir", check=False)).code == 0:
                return True
            await asyncio.to_thread(shutil.rmtree, git.folder)
        # A link or a pointer file would have us work in somebody else's repository.
        git.folder.unlink(missing_ok=True)
        return False

    async def _name_remote(self, remote: str) -> None:
        known = await self._git.run("config", "--get", "remote.origin.url", check=False)
        if known.output != remote.encode() + b"\n":
            await self._git.run("config", "remote.origin.url", remote)
            await self._git.run("config", "remote.origin.fetch", FETCH)

    async def _target(self, request: OpenRequest) -> str:
        if request.commit is None:
            return await self._empty_commit()
        if await self._git.resolve(request.commit) == request.commit:
            await self._git.run("update-ref", UPSTREAM, request.commit)
            return request.commit
        if request.remote is None:
            raise ServiceError(ErrorCode.INVALID_FIELD, "Field 'commit' is not here; name the 'remote' that has it.")
        await self._fetch(request.commit)
        if await self._git.resolve(request.commit) != request.commit:
            raise ServiceError(ErrorCode.REF_NOT_FOUND, f"{request.commit} is no commit; name a commit.")
        return request.commit

    async def _fetch(self, commit: str) -> None:
        options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance")
        try:
            await self._git.run("fetch", *options, "origin", f"+{commit}:{UPSTREAM}", timeout=self._fetch_timeout)
        except GitFailed as failed:
            raise ServiceError(_fetch_code(failed.words), f"Fetching {commit[:12]} failed: {failed.words}") from failed

    async def _empty_commit(self) -> str:
        await self._git.run("hash-object", "-t", "tree", "-w", "--stdin")
        made = await self._git.run("commit-tree", EMPTY_TREE, "-m", "Empty start", env=_EPOCH)
        return made.output.decode().strip()

    def _is_bare(self) -> bool:
        """Whether there is nothing but git's folder: the common first open needs no comparison."""
        return all(path.name == ".git" for path in self._git.tree.root.iterdir())

    async def _snapshot(self, base: str) -> str:
        index = self._git.own / "index"
        # Start from the base, keeping what is known of unchanged files: an index of its own would miss files
        # that are tracked and ignored.
        seeded = await self._git.run("read-tree", "--reset", base, index=index, check=False)
        if seeded.code:
            index.unlink(missing_ok=True)
            await self._git.run("read-tree", "--reset", base, index=index)
        # Fails for one entry, a nested repository without a commit or an unreadable file, and adds the others.
        await self._git.run("add", "--all", "--ignore-errors", ".", index=index, check=False)
        return await self._git.line("write-tree", index=index)

    async def _undelivered(self, base: str | None, work: str, target: str, delivered: str | None) -> bool:
        for commit in (target, base, delivered):
            if commit and await self._git.resolve(commit) and work == await self._tree_of(commit):
                return False
        if base is None:
            return work != EMPTY_TREE
        return not await self._contained(base, work, target)

    async def _tree_of(self, commit: str) -> str:
        return await self._git.line("rev-parse", f"{commit}^{{tree}}")

    async def _contained(self, base: str, work: str, target: str) -> bool:
        """Whether the target has the change from base to work already: then the change can be taken back from it."""
        patch = await self._git.run(*difference.PATCH, base, work, limit=self._patch_bytes)
        if patch.cut:
            return False
        index = self._git.own / "check"
        await self._git.run("read-tree", "--reset", target, index=index)
        check = await self._git.run("apply", "--cached", "--check", "-R", stdin=patch.output, index=index, check=False)
        return check.code == 0

    async def _set_aside(self, base: str | None, work: str) -> None:
        parent = ("-p", base) if base else ()
        commit = await self._git.line("commit-tree", work, *parent, "-m", "Set aside by a fresh start")
        known = await self._git.run("for-each-ref", "--format=x", ASIDE)
        number = len(known.output.splitlines()) + 1
        await self._git.run("update-ref", f"{ASIDE}/{number}", commit)

    async def _move_to(self, target: str) -> None:
        """Make tree, index and branch `moorage` be the target. Ignored files stay."""
        git = self._git
        for unfinished in ("rebase-merge", "rebase-apply"):
            await asyncio.to_thread(shutil.rmtree, git.folder / unfinished, ignore_errors=True)
        await git.run("symbolic-ref", "HEAD", "refs/heads/moorage")
        await git.run("reset", "--hard", "--quiet", target)
        await git.run("clean", "-ffdq", check=False)
        await git.run("update-ref", BASE, target)
        await asyncio.to_thread(_seed_index, git.folder / "index", git.own / "index")

    async def _commit(self, base: str, tree: str) -> str:
        if tree == await self._git.line("rev-parse", f"{base}^{{tree}}"):
            commit = base
        elif (last := await self._same(base, tree)) is not None:
            return last
        else:
            commit = await self._git.line("commit-tree", tree, "-p", base, "-m", "Work tree")
        await self._git.run("update-ref", WORK, commit)
        return commit

    async def _same(self, base: str, tree: str) -> str | None:
        known = await self._git.run("log", "-1", "--format=%H %T %P", WORK, "--", check=False)
        commit, _, rest = known.output.decode().strip().partition(" ")
        return commit if rest == f"{tree} {base}" else None

    async def _files(self, base: str, commit: str) -> list[FileChange]:
        listed = await self._git.run(*difference.FILES, base, commit)
        return difference.parse(listed.output)

    def _too_large(self, files: list[FileChange]) -> ServiceError:
        sizes = sorted(
            ((_size(self._git.tree.locate(file.path, follow=False)), file.path) for file in files), reverse=True
        )
        biggest = ", ".join(f"{path} ({size:,} bytes)" for size, path in sizes[:3])
        message = (
            f"The changes make a patch of more than {self._patch_bytes:,} bytes; remove or ignore big files. "
            f"Biggest: {biggest}."
        )
        return ServiceError(ErrorCode.TOO_LARGE, message)


def _reply(commit: str, origin: Literal["fresh", "workspace"], behind: int, started: float) -> OpenReply:
    return OpenReply(commit=commit, origin=origin, behind=behind, ms=round((time.monotonic() - started) * 1000))


def _check_remote(remote: str, protocols: tuple[str, ...]) -> None:
    try:
        parts = urlsplit(remote)
    except ValueError as error:
        raise ServiceError(ErrorCode.INVALID_FIELD, "Field 'remote' is no URL; send one.") from error
    if parts.scheme not in protocols:
        message = f"Field 'remote' must be a URL with {' or '.join(protocols)}; the hub's git gateway has one."
        raise ServiceError(ErrorCode.INVALID_FIELD, message)
    if parts.username is not None or parts.password is not None:
        raise ServiceError(ErrorCode.INVALID_FIELD, "Field 'remote' contains credentials; none belong in here.")
    if any(character.isspace() or not character.isprintable() for character in remote):
        raise ServiceError(ErrorCode.INVALID_FIELD, "Field 'remote' contains a space or control character.")


def _fetch_code(words: str) -> ErrorCode:
    lower = words.lower()
    if "not our ref" in lower or "remote ref" in lower:
        return ErrorCode.REF_NOT_FOUND
    if "403" in lower or "401" in lower or "could not read username" in lower or "authentication" in lower:
        return ErrorCode.REPOSITORY_FORBIDDEN
    return ErrorCode.REPOSITORY_UNREACHABLE


def _seed_index(user: Path, private: Path) -> None:
    if user.is_file():
        shutil.copyfile(user, private)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
