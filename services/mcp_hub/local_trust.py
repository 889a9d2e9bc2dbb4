"""Which repositories on this machine git may be run in: the user's own, never a tree of a stack.

`git add` runs the clean and process filters of a repository's configuration, as the account of the hub and outside of
any sandbox. In a checkout of the user's that is wanted: without them Git LFS would store its large files as they are.
A tree in which agents work is hostile, and so is whatever leads to it. Knows no mirror.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.chassis.errors import ServiceError
from services.wire.errors import ErrorCode

# Also of other stacks on this machine: every home has this layout, and a socket folder may be in /tmp.
_OF_A_STACK: Final = re.compile(r"/workspaces/ws-[0-9a-f]{20}(/|$)|^/tmp/moorage-\d+-[0-9a-f]{12}(/|$)")
_GIT_FILE_LIMIT: Final = 8192


@dataclass(frozen=True, slots=True)
class Places:
    """Where git says a repository's parts are; `top` is its work tree, or the folder git was run in when bare."""

    top: Path
    bare: bool
    git_dir: Path
    common_dir: Path


class LocalTrust:
    """Decides for one hub, whose state is below `state_dir`."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir.resolve()

    def require_outside(self, *paths: Path) -> None:
        """Let paths pass only when, links followed, none is the stack's own.

        Raises:
            ServiceError: `invalid_field`.
        """
        for path in paths:
            real = path.resolve()
            if real.is_relative_to(self.state_dir) or _OF_A_STACK.search(os.fspath(real)):
                message = f"{path} belongs to the stack's own files, in which agents write; give a repository of yours"
                raise invalid(message)

    def require(self, places: Places) -> None:
        """Let a repository pass only when all of it is the user's, and its parts are where they belong.

        Raises:
            ServiceError: `invalid_field`, saying what to do.
        """
        self.require_outside(places.top, places.git_dir, places.common_dir)
        top, git_dir, common = places.top.resolve(), places.git_dir.resolve(), places.common_dir.resolve()
        if not places.bare and _pointed_to(top / ".git") != git_dir:
            message = f"the work tree of {git_dir} is configured to be {top} (core.worktree); give a repository without"
            raise invalid(message)
        if git_dir.is_relative_to(top) and common.is_relative_to(top):
            return
        if places.bare:
            raise invalid(f"{top} is inside the repository {git_dir}; give that path")
        if _is_registered(top, git_dir, common):
            return
        if "modules" in git_dir.parts:
            raise invalid(f"{top} is a submodule, or laid out as one; give its own repository, or the one around it")
        message = (
            f"the .git of {top} leads to {git_dir}, which does not know this work tree; "
            "run `git worktree repair` in the repository, or clone it"
        )
        raise invalid(message)


def invalid(why: str) -> ServiceError:
    """Return the refusal of a local path."""
    return ServiceError(ErrorCode.INVALID_FIELD, f"Field 'repo_url': {why}.")


def _is_registered(top: Path, git_dir: Path, common: Path) -> bool:
    """Whether the repository says, on its own side, that this is one of its work trees."""
    if git_dir.parent != common / "worktrees":
        return False
    named = _first_line(git_dir / "gitdir")
    return named is not None and (git_dir / named).resolve() == top / ".git"


def _pointed_to(entry: Path) -> Path | None:
    """Return the folder a `.git` entry is or leads to."""
    if entry.is_dir():
        return entry.resolve()
    line = _first_line(entry)
    if line is None or not line.startswith("gitdir: "):
        return None
    return (entry.parent / line.removeprefix("gitdir: ")).resolve()


def _first_line(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return os.fsdecode(file.read(_GIT_FILE_LIMIT)).rstrip("\r\n") or None
    except OSError:
        return None
