"""Two commits compared by git's plumbing, which no user configuration changes. Knows no repository."""

from collections.abc import Iterator
from typing import Literal

from services.agent import names
from services.wire.tasks import FileChange

PATCH = ("diff-tree", "-r", "-p", "-M", "--binary", "--full-index", "--no-ext-diff", "--no-textconv", "--no-color")
"""Arguments before the two commits of a patch that `git apply` takes."""

FILES = ("diff-tree", "-r", "-z", "-M", "--raw", "--numstat", "--no-ext-diff", "--no-textconv")
"""Arguments before the two commits of a listing that `parse` reads."""

Status = Literal["added", "modified", "deleted", "renamed", "type_changed"]

_STATUS: dict[bytes, Status] = {
    b"A": "added",
    b"M": "modified",
    b"D": "deleted",
    b"R": "renamed",
    b"T": "type_changed",
}


def parse(listing: bytes) -> list[FileChange]:
    """Return the changed files of a listing, by path."""
    fields = iter(listing.split(b"\0")[:-1])
    status: dict[bytes, Status] = {}
    changes = []
    for entry in fields:
        if entry.startswith(b":"):
            letter = entry.rsplit(b" ", 1)[1][:1]
            status[_path(letter == b"R", fields)] = _STATUS[letter]
        else:
            changes.append(_change(entry, fields, status))
    return sorted(changes, key=lambda change: change.path)


def _path(renamed: bool, fields: Iterator[bytes]) -> bytes:
    first = next(fields)
    return next(fields) if renamed else first


def _change(entry: bytes, fields: Iterator[bytes], status: dict[bytes, Status]) -> FileChange:
    added, removed, path = entry.split(b"\t", 2)
    # A rename has its two paths in fields of their own.
    path = path or _path(True, fields)
    binary = added == b"-"
    return FileChange(
        path=names.show(path),
        status=status[path],
        added=0 if binary else int(added),
        removed=0 if binary else int(removed),
        binary=binary,
    )
