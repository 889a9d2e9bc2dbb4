"""What the engine can ask a tool for. Each lookup knows its role, its arguments by meaning, and its shell command."""

import shlex
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

SEARCH_LIMIT = 200
"""Most matches a search asks for."""


class Role(StrEnum):
    """What a tool is good for."""

    LIST = "list"
    READ = "read"
    SEARCH = "search"
    GIT_LOG = "git log"
    GIT_DIFF = "git diff"
    GIT_STATUS = "git status"
    GIT_SHOW = "git show"
    RUN = "run"


class Lookup(Protocol):
    """One thing to ask for: by a tool of its role, or by a shell command when there is none."""

    @property
    def role(self) -> Role:
        """The role that serves it."""

    def wants(self) -> dict[str, str | int]:
        """Return the arguments by meaning; `tools` maps them to a tool's own parameter names."""

    def shell(self) -> str:
        """Return the command that gives the same text."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Entries below `path`, `depth` levels down."""

    path: str = "."
    depth: int = 1
    role: Role = Role.LIST

    def wants(self) -> dict[str, str | int]:
        """Return path and depth."""
        return {"path": self.path, "depth": self.depth}

    def shell(self) -> str:
        """List one level with `ls`, more with git's own list, which leaves ignored files out."""
        path = shlex.quote(self.path)
        if self.depth == 1:
            return f"ls -1Ap -- {path}"
        return (
            f"git ls-files --cached --others --exclude-standard -- {path} 2>/dev/null"
            f" || find {path} -maxdepth {self.depth} -type f -not -path '*/.git/*'"
        )


@dataclass(frozen=True, slots=True)
class ReadFile:
    """Lines `first` to `last` of a file, counted from 1."""

    path: str
    first: int = 1
    last: int | None = None
    role: Role = Role.READ

    def wants(self) -> dict[str, str | int]:
        """Return the path, and the lines when not all of them are wanted."""
        lines: dict[str, str | int] = {} if self.last is None else {"line_start": self.first, "line_end": self.last}
        return {"path": self.path, **lines}

    def shell(self) -> str:
        """Print the lines."""
        path = shlex.quote(self.path)
        return f"cat -- {path}" if self.last is None else f"sed -n {self.first},{self.last}p -- {path}"


@dataclass(frozen=True, slots=True)
class Search:
    """Lines that match a regular expression."""

    pattern: str
    path: str = "."
    ignore_case: bool = False
    limit: int = SEARCH_LIMIT
    role: Role = Role.SEARCH

    def wants(self) -> dict[str, str | int]:
        """Return pattern, path and limit."""
        flag = "(?i)" if self.ignore_case else ""
        return {"pattern": flag + self.pattern, "path": self.path, "limit": self.limit}

    def shell(self) -> str:
        """Search with git, which leaves ignored files out, or with grep."""
        flag = "i" if self.ignore_case else ""
        pattern, path = shlex.quote(self.pattern), shlex.quote(self.path)
        return (
            f"(git grep -nIE{flag} --untracked -e {pattern} -- {path} 2>/dev/null"
            f" || grep -rnIE{flag} --exclude-dir=.git -e {pattern} -- {path}) | head -n {self.limit}"
        )


@dataclass(frozen=True, slots=True)
class GitLog:
    """The newest commits."""

    limit: int = 10
    path: str | None = None
    role: Role = Role.GIT_LOG

    def wants(self) -> dict[str, str | int]:
        """Return the limit, and the path if there is one."""
        return {"limit": self.limit, **({"path": self.path} if self.path else {})}

    def shell(self) -> str:
        """Print one line per commit."""
        path = f" -- {shlex.quote(self.path)}" if self.path else ""
        return f"git log -n {self.limit} --date=short --format='%h %ad %an %s'{path}"


@dataclass(frozen=True, slots=True)
class GitDiff:
    """Changes of the work tree, or against `ref`."""

    ref: str | None = None
    path: str | None = None
    role: Role = Role.GIT_DIFF

    def wants(self) -> dict[str, str | int]:
        """Return ref and path if given."""
        return {key: value for key, value in (("ref", self.ref), ("path", self.path)) if value}

    def shell(self) -> str:
        """Print the diff."""
        ref = f" {shlex.quote(self.ref)}" if self.ref else ""
        return f"git diff{ref} --" + (f" {shlex.quote(self.path)}" if self.path else "")


@dataclass(frozen=True, slots=True)
class GitStatus:
    """Which files are changed, added or unknown to git."""

    role: Role = Role.GIT_STATUS

    def wants(self) -> dict[str, str | int]:
        """Return nothing: the tool needs no argument."""
        return {}

    def shell(self) -> str:
        """Print the short status."""
        return "git status --short --branch"


@dataclass(frozen=True, slots=True)
class GitShow:
    """One commit with its changes."""

    ref: str = "HEAD"
    role: Role = Role.GIT_SHOW

    def wants(self) -> dict[str, str | int]:
        """Return the ref."""
        return {"ref": self.ref}

    def shell(self) -> str:
        """Print the commit."""
        return f"git show --stat --patch {shlex.quote(self.ref)} --"


@dataclass(frozen=True, slots=True)
class RunCommand:
    """A command, as the user or a manifest names it."""

    command: str
    timeout_s: int = 120
    role: Role = Role.RUN

    def wants(self) -> dict[str, str | int]:
        """Return the command and its limit in seconds."""
        return {"command": self.command, "timeout_s": self.timeout_s}

    def shell(self) -> str:
        """Return the command itself."""
        return self.command
