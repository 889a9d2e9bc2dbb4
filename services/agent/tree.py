"""The work tree's border: every path of a call is resolved here, and files are opened without following links.

Resolving decides what a path means; opening then walks from the root, folder by folder, without following links, so
that a link put there in between is refused too. Knows no git and no HTTP.
"""

import contextlib
import difflib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.agent import names
from services.chassis.errors import ServiceError
from services.wire.errors import ErrorCode

OURS = frozenset({".git", ".moorage"})
"""Folders that belong to tools, not to the project: git's, and the one of spilled outputs."""

HEAVY = frozenset({".git", ".moorage", "node_modules", ".venv", "__pycache__", ".tox", ".mypy_cache", ".ruff_cache"})
"""Folders whose insides nobody means: not walked unless a path names them."""

_LOOK_AT = 5_000
_NAME_BYTES = 255
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Staged:
    """New content next to the file it will replace."""

    path: Path
    temporary: str


class Tree:
    """One folder and everything below it."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def locate(self, text: str, *, follow: bool = True) -> Path:
        """Return the real path `text` means; with `follow` off, a link as last part stays a link.

        Raises:
            ServiceError: invalid_field when it leads outside the work tree.
        """
        name = names.parse(text)
        if "\0" in name or any(len(os.fsencode(part)) > _NAME_BYTES for part in name.split("/")):
            message = f"A path cannot contain NUL, or a name of more than {_NAME_BYTES} bytes; correct it."
            raise ServiceError(ErrorCode.INVALID_FIELD, message)
        wanted = self.root / name
        try:
            resolved = (
                wanted.resolve() if follow or wanted.name in ("", "..") else wanted.parent.resolve() / wanted.name
            )
        except (OSError, RuntimeError) as error:
            message = f"Path {names.show(name)} cannot be followed ({error}); use another one."
            raise ServiceError(ErrorCode.INVALID_FIELD, message) from error
        if not resolved.is_relative_to(self.root):
            message = f"Path {names.show(name)} leads outside the work tree; use a path relative to it."
            raise ServiceError(ErrorCode.INVALID_FIELD, message)
        return resolved

    def writable(self, text: str, *, follow: bool = True) -> Path:
        """Return the real path `text` means if a call may write it: not the root, and nothing of git's own.

        Raises:
            ServiceError: invalid_field when it may not.
        """
        path = self.locate(text, follow=follow)
        parts = path.relative_to(self.root).parts
        if not parts:
            raise ServiceError(ErrorCode.INVALID_FIELD, "The path is the work tree itself; name a file in it.")
        if any(part.lower() == ".git" for part in parts):
            raise ServiceError(ErrorCode.INVALID_FIELD, "Files of .git are not written here; run git in the shell.")
        return path

    def shown(self, path: Path) -> str:
        """Return `path` relative to the work tree, as text."""
        return names.show(str(path.relative_to(self.root)))

    @contextlib.contextmanager
    def folder(self, path: Path, *, create: bool = False) -> Iterator[int]:
        """Yield a descriptor of the folder `path`, reached without following a link."""
        descriptor = os.open(self.root, _FOLDER)
        try:
            for part in path.relative_to(self.root).parts:
                if create:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, dir_fd=descriptor)
                inner = os.open(part, _FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    def read(self, path: Path, limit: int) -> tuple[bytes, int]:
        """Return the content and mode of the regular file at a located `path`.

        Raises:
            ServiceError: not_found, too_large above `limit` bytes, invalid_field when it is no regular file.
        """
        if path == self.root:
            raise ServiceError(ErrorCode.INVALID_FIELD, "The path is the work tree itself; name a file in it.")
        with self.told(path), self.folder(path.parent) as parent:
            # Non-blocking: a FIFO would otherwise hold this thread until somebody writes to it.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with open(os.open(path.name, flags, dir_fd=parent), "rb") as file:  # noqa: PTH123  (a descriptor, not a path)
                status = os.fstat(file.fileno())
                if stat.S_ISDIR(status.st_mode):
                    raise IsADirectoryError(errno.EISDIR, "Is a directory")
                if not stat.S_ISREG(status.st_mode):
                    raise ServiceError(ErrorCode.INVALID_FIELD, f"{self.shown(path)} is not a regular file.")
                if status.st_size > limit:
                    message = f"{self.shown(path)} has {status.st_size:,} bytes, more than {limit:,}; use the shell."
                    raise ServiceError(ErrorCode.TOO_LARGE, message)
                return file.read(limit), stat.S_IMODE(status.st_mode)

    def write(self, path: Path, content: bytes, mode: int | None) -> None:
        """Put `content` at a located `path` in one step, with the folders above it; `mode` None means a new file's."""
        self.publish(self.stage(path, content, mode))

    def stage(self, path: Path, content: bytes, mode: int | None) -> Staged:
        """Write `content` next to `path`, to be published or discarded."""
        staged = Staged(path, f".moorage-{secrets.token_hex(8)}")
        with self.told(path), self.folder(path.parent, create=True) as parent:
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISDIR(os.stat(path.name, dir_fd=parent, follow_symlinks=False).st_mode):
                    raise IsADirectoryError(errno.EISDIR, "Is a directory")
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(staged.temporary, flags, 0o666, dir_fd=parent)
            try:
                with open(descriptor, "wb") as file:  # noqa: PTH123  (a descriptor, not a path)
                    if mode is not None:
                        os.fchmod(descriptor, mode)
                    file.write(content)
            except OSError:
                os.unlink(staged.temporary, dir_fd=parent)
                raise
        return staged

    def publish(self, staged: Staged) -> None:
        """Put staged content in its place."""
        with self.told(staged.path), self.folder(staged.path.parent) as parent:
            os.replace(staged.temporary, staged.path.name, src_dir_fd=parent, dst_dir_fd=parent)

    def discard(self, staged: Staged) -> None:
        """Remove staged content that was not published."""
        with contextlib.suppress(OSError), self.folder(staged.path.parent) as parent:
            os.unlink(staged.temporary, dir_fd=parent)

    def remove(self, path: Path) -> None:
        """Remove the file or link at a located `path`."""
        with self.told(path), self.folder(path.parent) as parent:
            os.unlink(path.name, dir_fd=parent)

    @contextlib.contextmanager
    def told(self, path: Path) -> Iterator[None]:
        """Turn the operating system's refusals of `path` into what the caller is told."""
        try:
            yield
        except FileNotFoundError as error:
            raise self.not_found(path) from error
        except IsADirectoryError as error:
            message = f"{self.shown(path)} is a folder; name a file, or list the folder."
            raise ServiceError(ErrorCode.INVALID_FIELD, message) from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise ServiceError(ErrorCode.TOO_LARGE, "The work tree's disk is full; remove something.") from error
            message = f"{self.shown(path)} cannot be used ({error.strerror}); use another path."
            raise ServiceError(ErrorCode.INVALID_FIELD, message) from error

    def not_found(self, path: Path) -> ServiceError:
        """Return the error for a `path` that is not there, with the nearest names that are."""
        near = self._nearest(path)
        hint = f" Nearest: {', '.join(near)}." if near else " List the folder to see what is there."
        return ServiceError(ErrorCode.NOT_FOUND, f"{self.shown(path)} does not exist.{hint}")

    def _nearest(self, path: Path) -> list[str]:
        wanted = str(path.relative_to(self.root))
        known = self._some_names()
        same_name = [name for name in known if os.path.basename(name) == path.name]  # noqa: PTH119  (names, not paths)
        close = difflib.get_close_matches(wanted, known, n=3, cutoff=0.6)
        return [names.show(name) for name in dict.fromkeys([*same_name[:3], *close])][:3]

    def _some_names(self) -> list[str]:
        found: list[str] = []
        for folder, folders, files in os.walk(self.root):
            folders[:] = sorted(set(folders) - HEAVY)
            start = os.path.relpath(folder, self.root)
            found += [os.path.normpath(f"{start}/{name}") for name in [*folders, *sorted(files)]]
            if len(found) >= _LOOK_AT:
                break
        return found[:_LOOK_AT]
