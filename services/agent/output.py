"""What a command prints: its head and tail in memory, all of it in a bounded file. Knows no process."""

import contextlib
import os
from pathlib import Path

from services.agent import names
from services.agent.tree import Tree

FOLDER = ".moorage/out"


class Spills:
    """The files with full outputs, in `.moorage/out` of the work tree, numbered upwards."""

    def __init__(self, tree: Tree, *, file_bytes: int, keep: int) -> None:
        self._tree = tree
        self._keep = keep
        self._last = 0
        self.file_bytes = file_bytes

    def create(self) -> tuple[int, str] | None:
        """Open the next file and return its descriptor and its path; None when the work tree does not let us.

        The folder is reached without following links: a repository may bring a `.moorage` of its own.
        """
        with contextlib.suppress(OSError), self._tree.folder(self._tree.root / FOLDER, create=True) as folder:
            names_there = os.listdir(folder)  # noqa: PTH208  (a descriptor, not a path)
            known = sorted(int(name[:-4]) for name in names_there if _is_ours(name))
            for number in known[: max(0, len(known) - self._keep + 1)]:
                os.unlink(f"{number}.txt", dir_fd=folder)
            self._last = max([self._last, *known[-1:]]) + 1
            name = f"{self._last}.txt"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(name, flags, 0o644, dir_fd=folder), str(Path(FOLDER) / name)
        return None


def _is_ours(name: str) -> bool:
    number, dot, ending = name.partition(".")
    return dot == "." and ending == "txt" and number.isascii() and number.isdigit() and len(number) <= 9


class Output:
    """One command's output. Memory is bounded by head and twice the tail, the file by the spill limit."""

    def __init__(self, spills: Spills, *, head: int, tail: int) -> None:
        self.size = 0
        self.path: str | None = None
        self._spills = spills
        self._head_limit, self._tail_limit = head, tail
        self._head, self._tail = bytearray(), bytearray()
        self._file: int | None = None
        self._written = 0
        self._tried = False

    def add(self, piece: bytes) -> None:
        """Take the next piece of output."""
        if self.size + len(piece) > self._head_limit + self._tail_limit:
            self.keep()
        self.size += len(piece)
        self._spill(piece)
        room = self._head_limit - len(self._head)
        self._head += piece[:room]
        self._tail += piece[room:] if room < len(piece) else b""
        if len(self._tail) > 2 * self._tail_limit:
            del self._tail[: -self._tail_limit]

    def keep(self) -> None:
        """From now on also write to a file, beginning with what came so far."""
        if self._tried:
            return
        self._tried = True
        created = self._spills.create()
        if created is not None:
            self._file, self.path = created
            self._spill(bytes(self._head + self._tail))

    def _spill(self, piece: bytes) -> None:
        if self._file is None:
            return
        room = self._spills.file_bytes - self._written
        try:
            self._written += os.write(self._file, piece[:room])
            if len(piece) > room:
                os.write(self._file, f"\n[cut: only {self._spills.file_bytes:,} bytes are kept]\n".encode())
                self.close()
        except OSError:  # a full disk must not end the command
            self.close()

    def close(self) -> None:
        """Write no more to the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def text(self) -> str:
        """Return head and tail with a mark for what is cut between them."""
        tail = bytes(self._tail[-self._tail_limit :])
        cut = self.size - len(self._head) - len(tail)
        if not cut:
            return names.printable(bytes(self._head) + tail)
        where = f"; all of it in {self.path}" if self.path else ""
        return f"{names.printable(bytes(self._head))}\n... [{cut:,} bytes cut{where}] ...\n{names.printable(tail)}"
