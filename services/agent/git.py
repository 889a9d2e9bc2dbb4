"""Git on a hostile repository: a scrubbed environment, nothing of its configuration that runs programs, limits.

Filters of the repository's own configuration still run, as they do for the commands next door: the sandbox is the
wall, this is order. Knows no base and no run.
"""

from collections.abc import Sequence
from pathlib import Path

from services.agent.children import Children, Finished
from services.agent.tree import Tree
from services.chassis.errors import ServiceError
from services.wire.errors import ErrorCode

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
FETCH = "+refs/heads/*:refs/remotes/origin/*"
_METADATA_BYTES = 64 * 1024 * 1024

_CONFIG = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.attributesFile": "/dev/null",
    "core.autocrlf": "false",
    "core.fileMode": "true",
    "core.quotePath": "false",
    "core.sparseCheckout": "false",
    "core.sshCommand": "false",
    "core.symlinks": "true",
    "core.untrackedCache": "false",
    "credential.helper": "",
    "color.ui": "false",
    "commit.gpgSign": "false",
    "advice.addEmbeddedRepo": "false",
    "fetch.recurseSubmodules": "false",
    "submodule.recurse": "false",
    "log.showSignature": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "protocol.ext.allow": "never",
    "safe.directory": "*",
}

_EXCLUDED = """\
# Written by Moorage: what tools leave behind is no change.
.moorage/
__pycache__/
*.py[cod]
*.egg-info/
.pytest_cache/
.mypy_cache/
.ruff_cache/
.hypothesis/
.tox/
.nox/
.venv/
.coverage
node_modules/
.DS_Store
"""


class GitFailed(ServiceError):
    """A git command failed; `words` are git's own."""

    def __init__(self, command: str, words: str) -> None:
        super().__init__(ErrorCode.INTERNAL, f"git {command} failed: {words or 'without a word'}")
        self.words = words


class Git:
    """Runs git in one work tree. `protocols` are those a remote may have; production allows http and https."""

    def __init__(
        self,
        tree: Tree,
        children: Children,
        *,
        path: str,
        proxy: str | None,
        timeout: float,
        protocols: Sequence[str] = ("http", "https"),
    ) -> None:
        self.tree = tree
        self.folder = tree.root / ".git"
        self.protocols = tuple(protocols)
        self._children = children
        self._timeout = timeout
        self._config = {**_CONFIG, **({"http.proxy": proxy} if proxy else {})}
        self._env = {
            "PATH": path,
            "HOME": "/nonexistent",
            "LC_ALL": "C.UTF-8",
            "GIT_DIR": str(self.folder),
            "GIT_WORK_TREE": str(tree.root),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_ALLOW_PROTOCOL": ":".join(self.protocols),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_LITERAL_PATHSPECS": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_PAGER": "cat",
            "GIT_EDITOR": "true",
            "GIT_AUTHOR_NAME": "Moorage",
            "GIT_AUTHOR_EMAIL": "moorage@localhost",
            "GIT_COMMITTER_NAME": "Moorage",
            "GIT_COMMITTER_EMAIL": "moorage@localhost",
        }

    @property
    def own(self) -> Path:
        """The folder in .git for our private files."""
        return self.folder / "moorage"

    def exists(self) -> bool:
        """Whether the work tree has a repository of its own: a real folder, no link and no pointer file."""
        return self.folder.is_dir() and not self.folder.is_symlink()

    async def run(
        self,
        *args: str,
        stdin: bytes = b"",
        index: Path | None = None,
        env: dict[str, str] | None = None,
        limit: int = _METADATA_BYTES,
        timeout: float | None = None,
        check: bool = True,
    ) -> Finished:
        """Run one git command; with `index`, on that index file instead of the user's.

        Raises:
            GitFailed: when it fails and `check` is on.
            ServiceError: timeout.
        """
        options = [part for key, value in self._config.items() for part in ("-c", f"{key}={value}")]
        extra = {**({"GIT_INDEX_FILE": str(index)} if index else {}), **(env or {})}
        seconds = timeout or self._timeout
        try:
            finished = await self._children.run(
                ["git", *options, *args],
                cwd=self.tree.root,
                env={**self._env, **extra},
                stdin=stdin,
                limit=limit,
                timeout=seconds,
            )
        except TimeoutError as error:
            message = f"git {args[0]} took more than {seconds:g} seconds; try again, or look at the work tree's size."
            raise ServiceError(ErrorCode.TIMEOUT, message) from error
        if check and finished.code and not finished.cut:
            raise GitFailed(args[0], _words(finished.stderr))
        return finished

    async def line(self, *args: str, **options: Path) -> str:
        """Run one git command and return what it prints, without the newline."""
        finished = await self.run(*args, index=options.get("index"))
        return finished.output.decode("utf-8", "replace").strip()

    async def resolve(self, name: str) -> str | None:
        """Return the commit `name` means, if there is one."""
        finished = await self.run(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", check=False
        )
        return finished.output.decode().strip() if finished.code == 0 else None

    async def create(self, remote: str | None) -> None:
        """Make the repository, with excludes for what tools leave behind and an identity for commits in the shell."""
        await self.run("init", "--quiet", "--template=", "--initial-branch=moorage")
        sections = "[user]\n\tname = Moorage\n\temail = moorage@localhost\n[gc]\n\tauto = 0\n"
        if remote is not None:
            quoted = remote.replace("\\", "\\\\").replace('"', '\\"')
            sections += f'[remote "origin"]\n\turl = "{quoted}"\n\tfetch = {FETCH}\n'
        with (self.folder / "config").open("a", encoding="utf-8") as config:
            config.write(sections)
        self.exclude()

    def exclude(self) -> None:
        """Write the built-in excludes if they are not there."""
        self.own.mkdir(exist_ok=True)
        path = self.folder / "info" / "exclude"
        path.parent.mkdir(exist_ok=True)
        known = path.read_text("utf-8", "replace") if path.is_file() else ""
        if _EXCLUDED not in known:
            path.write_text(known + _EXCLUDED, encoding="utf-8")

    def unlock(self) -> None:
        """Remove the locks of a git that was killed; called when nothing else works in the tree."""
        for pattern in ("*.lock", "refs/heads/*.lock", "refs/moorage/*.lock", "moorage/*.lock"):
            for lock in self.folder.glob(pattern):
                lock.unlink(missing_ok=True)


def _words(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip() and not line.startswith(("hint:", "warning:"))]
    return " ".join(lines)[:1000]
