"""Mirrors: one bare repository per workspace, brought up to date from its upstream. Knows no sandbox."""

import asyncio
import contextlib
import difflib
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from services.chassis.errors import ServiceError
from services.mcp_hub import local_tree
from services.mcp_hub.audit import Audit
from services.mcp_hub.git_errors import explain, is_missing_ref, own_words
from services.mcp_hub.git_process import Git, GitFailedError
from services.mcp_hub.local_tree import LocalRepository
from services.mcp_hub.local_trust import LocalTrust
from services.mcp_hub.remotes import Remote, Remotes
from services.wire.base import WorkspaceId
from services.wire.errors import ErrorCode
from services.wire.hub import GIT_HOST, MirrorReply, MirrorRequest

_UPSTREAM: Final = "refs/moorage/upstream"
_ASKED: Final = "refs/moorage/asked"
_BRANCHES: Final = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
_FETCH: Final = (
    "fetch",
    "--quiet",
    "--prune",
    "--no-tags",
    "--update-shallow",
    "--no-write-fetch-head",
    "--no-recurse-submodules",
    "--no-auto-maintenance",
)
_SHA: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SHORT_SHA: Final = re.compile(r"[0-9a-f]{4,64}")
_MOVED: Final = re.compile(r"returned error: 30[12378]")
_BAD_REF: Final = re.compile(r"^-|\.\.|@\{|[\x00-\x20\x7f~^:?*\[\\]|^/|/$|//|\.lock$|^@$")
_QUICK_S: Final = 30.0
_STALE_LOCK_S: Final = 900.0
_PARALLEL: Final = 8
_HOPS: Final = 2
_NAMES: Final = 2_000
_LONGEST_NAME: Final = 100

# Objects are never collected: sandboxes borrow them from here.
_CONFIG: Final = """\
[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = true
\tlogAllRefUpdates = false
[gc]
\tauto = 0
[maintenance]
\tauto = false
[uploadpack]
\tallowAnySHA1InWant = true
[transfer]
\tfsckObjects = false
"""


class Mirrors:
    """The mirrors below one folder of the hub's state."""

    def __init__(self, state_dir: Path, git: Git, remotes: Remotes, audit: Audit, *, fetch_timeout_s: float) -> None:
        self._directory = state_dir / "mirrors"
        self._trust = LocalTrust(state_dir)
        self._git = git
        self._remotes = remotes
        self._audit = audit
        self._fetch_timeout_s = fetch_timeout_s
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._slots = asyncio.Semaphore(_PARALLEL)

    def path(self, workspace_id: WorkspaceId) -> Path:
        """Return where a workspace's mirror is, or would be."""
        return self._directory / f"{workspace_id}.git"

    async def fetch(self, request: MirrorRequest) -> MirrorReply:
        """Bring a mirror up to date and name the commit a run should start from.

        Raises:
            ServiceError: why the repository or the ref cannot be had.
        """
        began = time.perf_counter()
        outcome: str | None = ErrorCode.CANCELLED
        try:
            reply = await self._limited(request, began)
            outcome = None
        except ServiceError as error:
            outcome = error.code
            raise
        finally:
            ms = round((time.perf_counter() - began) * 1000, 1)
            self._audit.write("fetch", workspace=request.workspace_id, local=request.local, error=outcome, ms=ms)
        return reply

    async def remove(self, workspace_id: WorkspaceId) -> None:
        """Remove a mirror; nothing happens when there is none.

        Raises:
            ServiceError: `workspace_busy` while it is being fetched.
        """
        mirror = self.path(workspace_id)
        lock = self._locks.setdefault(workspace_id, asyncio.Lock())
        try:
            async with asyncio.timeout(_QUICK_S):
                await lock.acquire()
        except TimeoutError as error:
            message = "The repository of this workspace is being fetched; try again when that has ended."
            raise ServiceError(ErrorCode.WORKSPACE_BUSY, message) from error
        try:
            await asyncio.to_thread(_remove, mirror)
        finally:
            lock.release()

    async def _limited(self, request: MirrorRequest, began: float) -> MirrorReply:
        lock = self._locks.setdefault(request.workspace_id, asyncio.Lock())
        try:
            async with asyncio.timeout(self._fetch_timeout_s), lock, self._slots:
                commit, ref, dirty = await self._update(request)
                if request.ref is None and ref is not None:
                    await self._point_head(self.path(request.workspace_id), ref)
        except TimeoutError as error:
            message = (
                f"The repository was not fetched within {self._fetch_timeout_s:g} seconds; "
                "try again, or raise MCP_HUB_FETCH_TIMEOUT_S."
            )
            raise ServiceError(ErrorCode.TIMEOUT, message) from error
        return MirrorReply(
            commit=commit,
            ref=None if ref is None else ref.encode(errors="surrogateescape").decode(errors="backslashreplace"),
            remote=f"http://{GIT_HOST}/{request.workspace_id}.git",
            dirty=dirty,
            ms=round((time.perf_counter() - began) * 1000),
        )

    async def _update(self, request: MirrorRequest) -> tuple[str | None, str | None, bool]:
        if request.ref is not None and _BAD_REF.search(request.ref):
            raise ServiceError(ErrorCode.INVALID_FIELD, f"Field 'ref': {request.ref!r} cannot be a git ref.")
        mirror = self.path(request.workspace_id)
        if request.local:
            return await self._update_local(mirror, request.fetch_url, request.ref)
        remote = await self._remotes.prepare(request.fetch_url)
        await self._create(mirror)
        if request.ref is not None and await self._has(mirror, request.ref):
            # A whole commit id never changes its meaning.
            return request.ref, request.ref, False
        remote = await self._fetch_remote(mirror, remote, request.ref)
        if request.ref is None:
            commit, branch = await self._default_branch(mirror, remote)
            return commit, branch, False
        commit = await self._resolve(mirror, request.ref)
        return commit or await self._fetch_asked(mirror, remote, request.ref), request.ref, False

    async def _update_local(self, mirror: Path, path: str, ref: str | None) -> tuple[str | None, str | None, bool]:
        repository = await local_tree.open_repository(self._git, path, self._trust)
        await self._create(mirror)
        head = repository.head.commit if repository.head else None
        wanted = head if ref is None else await local_tree.find_commit(self._git, repository, ref)
        if ref is not None and wanted is None:
            raise await self._no_such_ref(repository.top, ref)
        try:
            await self._fetch_local(mirror, repository, wanted)
            if ref is None and not repository.bare:
                changed = await local_tree.commit_changes(
                    self._git, repository, mirror, timeout_s=self._fetch_timeout_s
                )
                if changed is not None:
                    return changed, repository.branch, True
        except GitFailedError as error:
            message = f"{path} cannot be read: {own_words(error.stderr)}. Check it with `git fsck`, then try again."
            raise ServiceError(ErrorCode.REPOSITORY_UNREACHABLE, message) from error
        return wanted, ref or repository.branch, False

    async def _fetch_local(self, mirror: Path, repository: LocalRepository, wanted: str | None) -> None:
        if wanted is not None and await self._has(mirror, wanted):
            return
        env = {"GIT_ALLOW_PROTOCOL": "file"}
        await self._fetch(mirror, str(repository.top), _BRANCHES, {}, env)
        if wanted is not None and not await self._has(mirror, wanted):
            # A detached HEAD, or a commit that only another ref of the user's reaches.
            await self._fetch(mirror, str(repository.top), (f"+{wanted}:{_ASKED}/{wanted}",), {}, env)

    async def _fetch_remote(self, mirror: Path, remote: Remote, ref: str | None) -> Remote:
        specs = (*_BRANCHES, f"+HEAD:{_UPSTREAM}") if ref is None else _BRANCHES
        for hop in range(_HOPS + 1):
            try:
                await self._fetch(mirror, remote.url, specs, remote.config, remote.env)
            except GitFailedError as error:
                if is_missing_ref(error.stderr):
                    # Upstream's HEAD names a branch that does not exist, as in an empty repository.
                    specs = _BRANCHES
                    await self._forget_upstream(mirror)
                elif _MOVED.search(error.stderr) and hop < _HOPS:
                    remote = await self._remotes.follow(remote, self._fetch_timeout_s)
                else:
                    raise explain(error.stderr, host=remote.host, ssh=remote.scheme == "ssh") from error
            else:
                break
        return remote

    async def _fetch(
        self, mirror: Path, url: str, specs: tuple[str, ...], config: Mapping[str, str], env: Mapping[str, str]
    ) -> None:
        for attempt in (1, 2):
            try:
                await self._git.run(
                    *_FETCH,
                    "--",
                    url,
                    *specs,
                    directory=mirror,
                    config=config,
                    env=env,
                    timeout_s=self._fetch_timeout_s,
                )
            except GitFailedError as error:
                killed = ".lock': File exists" in error.stderr
                if attempt == 2 or not killed or not await asyncio.to_thread(_remove_stale_locks, mirror):
                    raise
            else:
                return

    async def _fetch_asked(self, mirror: Path, remote: Remote, ref: str) -> str:
        """Fetch what no branch or tag reaches: a commit by its whole id, or a ref like `refs/pull/1/head`."""
        if not (_SHA.fullmatch(ref) or ref.startswith("refs/")):
            raise await self._no_such_ref(mirror, ref)
        target = f"{_ASKED}/{ref.removeprefix('refs/')}"
        try:
            await self._fetch(mirror, remote.url, (f"+{ref}:{target}",), remote.config, remote.env)
        except GitFailedError as error:
            if is_missing_ref(error.stderr):
                raise await self._no_such_ref(mirror, ref) from error
            raise explain(error.stderr, host=remote.host, ssh=remote.scheme == "ssh") from error
        commit = await self._commit_of(mirror, target)
        if commit is None:
            raise ServiceError(ErrorCode.REF_NOT_FOUND, f"{ref} is not a commit; name a branch, a tag or a commit.")
        return commit

    async def _default_branch(self, mirror: Path, remote: Remote) -> tuple[str | None, str | None]:
        commit = await self._commit_of(mirror, _UPSTREAM)
        if commit is None:
            if await self._branches(mirror):
                message = "The repository's default branch does not exist"
                raise await self._no_such_ref(mirror, "HEAD", message)
            return None, None
        pointing = await self._branches(mirror, f"--points-at={commit}")
        if len(pointing) == 1:
            return commit, pointing[0]
        # Several branches are at this commit: only upstream knows which of them is its HEAD.
        asked = await self._git.run(
            "ls-remote",
            "--symref",
            "--",
            remote.url,
            "HEAD",
            config=remote.config,
            env=remote.env,
            timeout_s=self._fetch_timeout_s,
            check=False,
        )
        named = re.search(r"^ref: refs/heads/(\S+)\tHEAD$", asked.text, re.MULTILINE)
        return commit, named[1] if named else None

    async def _resolve(self, mirror: Path, ref: str) -> str | None:
        places = [f"refs/heads/{ref}", f"refs/tags/{ref}"]
        if ref.startswith(("refs/heads/", "refs/tags/")):
            places = [ref]
        elif _SHORT_SHA.fullmatch(ref):
            places.append(ref)
        for place in places:
            if (commit := await self._commit_of(mirror, place)) is not None:
                return commit
        return None

    async def _commit_of(self, mirror: Path, name: str) -> str | None:
        asked = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        found = await self._git.run(*asked, directory=mirror, timeout_s=_QUICK_S, check=False)
        return found.text if _SHA.fullmatch(found.text) else None

    async def _has(self, mirror: Path, ref: str) -> bool:
        return bool(_SHA.fullmatch(ref)) and await self._commit_of(mirror, ref) == ref

    async def _forget_upstream(self, mirror: Path) -> None:
        await self._git.run("update-ref", "-d", _UPSTREAM, directory=mirror, timeout_s=_QUICK_S)

    async def _branches(self, directory: Path, *filters: str) -> list[str]:
        asked = ("for-each-ref", f"--count={_NAMES}", "--format=%(refname:strip=2)", *filters, "refs/heads")
        return (await self._git.run(*asked, directory=directory, timeout_s=_QUICK_S)).text.split()

    async def _no_such_ref(self, directory: Path, ref: str, start: str | None = None) -> ServiceError:
        # Comparing is slow, and the server chooses what there is to compare.
        branches = [name for name in await self._branches(directory) if len(name) <= _LONGEST_NAME]
        matching = asyncio.to_thread(difflib.get_close_matches, ref[:_LONGEST_NAME], branches, n=5, cutoff=0.5)
        near = await matching or branches[:5]
        known = f"branches are: {', '.join(near)}" if near else "it has no branches"
        message = f"{start or f'The repository has no branch, tag or commit {ref!r}'}; {known}."
        return ServiceError(ErrorCode.REF_NOT_FOUND, message)

    async def _point_head(self, mirror: Path, branch: str) -> None:
        # So that a plain clone of the mirror checks out what upstream's would.
        wanted = f"refs/heads/{branch}"
        if await asyncio.to_thread((mirror / "HEAD").read_text) != f"ref: {wanted}\n":
            await self._git.run("symbolic-ref", "HEAD", wanted, directory=mirror, timeout_s=_QUICK_S)

    async def _create(self, mirror: Path) -> None:
        if await asyncio.to_thread((mirror / "HEAD").exists):
            return
        fresh = mirror.with_name(f".{mirror.name}.new")
        await asyncio.to_thread(_clear, fresh)
        await self._git.run("init", "--bare", "--quiet", "--template=", "--", str(fresh), timeout_s=_QUICK_S)
        await asyncio.to_thread((fresh / "config").write_text, _CONFIG)
        await asyncio.to_thread(fresh.rename, mirror)


def _clear(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.rmtree(path, ignore_errors=True)


def _remove(mirror: Path) -> None:
    going = mirror.with_name(f".{mirror.name}.gone")
    _clear(going)
    # Renamed first: half a repository must never be served or fetched into.
    with contextlib.suppress(FileNotFoundError):
        mirror.rename(going)
    _clear(going)


def _remove_stale_locks(mirror: Path) -> bool:
    """Remove lock files that a killed git left; a live one is younger than the longest fetch."""
    oldest = time.time() - _STALE_LOCK_S
    stale = [path for path in mirror.rglob("*.lock") if path.stat().st_mtime < oldest]
    for path in stale:
        path.unlink(missing_ok=True)
    return bool(stale)
