"""Git for people and models: status, diff, log and show as text. Changes nothing they can see."""

from services.agent import names
from services.agent.git import Git
from services.agent.workspace import Workspace
from services.chassis.errors import ServiceError
from services.wire.agent import GitRequest, TextReply
from services.wire.errors import ErrorCode

_DIFF = ("-M", "--no-ext-diff", "--no-textconv")
_LINE = "--format=%h %ad %an: %s"


class History:
    """Read-only views of one repository."""

    def __init__(self, git: Git, workspace: Workspace, *, text_bytes: int) -> None:
        self._git = git
        self._workspace = workspace
        self._limit = text_bytes

    async def status(self, request: GitRequest) -> TextReply:
        """Return the branch and the changed files, as `git status --short` has them."""
        return await self._text("status", "--short", "--branch", "--untracked-files=all", *self._paths(request))

    async def diff(self, request: GitRequest) -> TextReply:
        """Return what the work tree, new files included, changes since `ref` or the commit the run started from."""
        await self._workspace.require()
        since = await self._commit(request.ref) if request.ref else await self._workspace.base()
        work = await self._workspace.snapshot()
        return await self._text("diff-tree", "-r", "-p", *_DIFF, since, work, *self._paths(request))

    async def log(self, request: GitRequest) -> TextReply:
        """Return the newest commits, one line each."""
        await self._workspace.require()
        ref = await self._commit(request.ref or "HEAD")
        count = f"--max-count={request.limit}"
        return await self._text("log", count, _LINE, "--date=short", "--end-of-options", ref, *self._paths(request))

    async def show(self, request: GitRequest) -> TextReply:
        """Return one commit: its message and its diff."""
        await self._workspace.require()
        ref = await self._commit(request.ref or "HEAD")
        options = ("--stat", "--patch", "--date=iso", *_DIFF)
        return await self._text("show", *options, "--end-of-options", ref, *self._paths(request))

    async def _commit(self, ref: str) -> str:
        commit = await self._git.resolve(ref)
        if commit is None:
            message = f"{names.show(ref)} names no commit here; git log shows those there are."
            raise ServiceError(ErrorCode.REF_NOT_FOUND, message)
        return commit

    def _paths(self, request: GitRequest) -> list[str]:
        if request.path is None:
            return []
        path = self._git.tree.locate(request.path, follow=False)
        return ["--", str(path.relative_to(self._git.tree.root))]

    async def _text(self, *args: str) -> TextReply:
        await self._workspace.require()
        finished = await self._git.run(*args, limit=self._limit)
        return TextReply(text=names.printable(finished.output), truncated=finished.cut)
