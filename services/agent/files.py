"""Listing, reading and writing files of the work tree for people and models. Knows no git."""

import stat
from pathlib import Path

from services.agent import names
from services.agent.tree import HEAVY, OURS, Tree
from services.chassis.errors import ServiceError
from services.wire.agent import (
    Entry,
    ListReply,
    ListRequest,
    ReadReply,
    ReadRequest,
    WriteReply,
    WriteRequest,
)
from services.wire.errors import ErrorCode

_SNIFF = 8_192


class Files:
    """The files of one work tree. Blocking: call it in a thread."""

    def __init__(self, tree: Tree, *, text_bytes: int, list_entries: int, file_bytes: int) -> None:
        self._tree = tree
        self._text_bytes = text_bytes
        self._list_entries = list_entries
        self._file_bytes = file_bytes

    def list(self, request: ListRequest) -> ListReply:
        """Return the entries below a path, level by level, so that a cut listing still has every upper level.

        Folders like node_modules are named but not entered, and git's folder and ours are not named.
        """
        start = self._tree.locate(request.path)
        with self._tree.told(start):
            if not stat.S_ISDIR(start.lstat().st_mode):
                return ListReply(entries=[self._entry(start)])
        found: list[Path] = []
        level = [start]
        for _ in range(request.depth):
            if len(found) > self._list_entries:
                break
            inside = [path for folder in level for path in _children(folder)]
            found += inside
            level = [path for path in inside if path.name not in HEAVY and path.is_dir() and not path.is_symlink()]
        kept = sorted(found[: self._list_entries], key=lambda path: path.parts)
        return ListReply(entries=[self._entry(path) for path in kept], truncated=len(found) > len(kept))

    def _entry(self, path: Path) -> Entry:
        shown = self._tree.shown(path)
        try:
            status = path.lstat()
        except OSError:  # gone since it was listed
            return Entry(path=shown, type="other")
        if stat.S_ISREG(status.st_mode):
            return Entry(path=shown, type="file", size=status.st_size)
        if stat.S_ISDIR(status.st_mode):
            return Entry(path=shown, type="directory")
        return Entry(path=shown, type="link" if stat.S_ISLNK(status.st_mode) else "other")

    def read(self, request: ReadRequest) -> ReadReply:
        """Return the wanted lines of a file, as many as fit.

        Raises:
            ServiceError: not_found, too_large, invalid_field for a range the file does not have.
        """
        path = self._tree.locate(request.path)
        content, _ = self._tree.read(path, self._file_bytes)
        shown = self._tree.shown(path)
        if b"\0" in content[:_SNIFF]:
            return ReadReply(
                path=shown, text="", line_start=0, line_end=0, total_lines=0, bytes=len(content), binary=True
            )
        lines = _lines(content)
        first, last = _wanted(request, len(lines), shown)
        text, taken, cut = _fitting(lines[first - 1 : last], self._text_bytes)
        return ReadReply(
            path=shown,
            text=names.printable(text),
            line_start=first,
            line_end=first + taken - 1,
            total_lines=len(lines),
            bytes=len(content),
            truncated=cut,
        )

    def write(self, request: WriteRequest) -> WriteReply:
        """Create or replace a file; an existing one keeps its mode.

        Raises:
            ServiceError: invalid_field when the path may not be written.
        """
        path = self._tree.writable(request.path)
        content = request.content.encode()
        try:
            mode = path.lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            mode = None
        except OSError as error:
            raise ServiceError(ErrorCode.INVALID_FIELD, f"The path cannot be used ({error.strerror}).") from error
        if mode is not None and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise ServiceError(ErrorCode.INVALID_FIELD, f"{self._tree.shown(path)} is not a regular file.")
        self._tree.write(path, content, None if mode is None else stat.S_IMODE(mode))
        return WriteReply(path=self._tree.shown(path), bytes=len(content), created=mode is None)


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.name not in OURS)
    except OSError:  # not readable, or gone: the listing goes on without it
        return []


def _lines(content: bytes) -> list[bytes]:
    # Not splitlines: it also splits at a lone CR; line numbers here are those of git, rg and editors.
    lines = content.split(b"\n")
    return [line + b"\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def _wanted(request: ReadRequest, total: int, shown: str) -> tuple[int, int]:
    last = total if request.line_end is None else min(request.line_end, total)
    if request.line_end is not None and request.line_end < request.line_start:
        raise ServiceError(ErrorCode.INVALID_FIELD, "Field 'line_end' is below 'line_start'; swap them.")
    if request.line_start > max(total, 1):
        message = f"Field 'line_start': {shown} has only {total} lines."
        raise ServiceError(ErrorCode.INVALID_FIELD, message)
    return request.line_start, last


def _fitting(lines: "list[bytes]", limit: int) -> tuple[bytes, int, bool]:
    size = 0
    for count, line in enumerate(lines):
        size += len(line)
        if size > limit:
            if count == 0:
                return line[:limit], 1, True
            return b"".join(lines[:count]), count, True
    return b"".join(lines), len(lines), False
