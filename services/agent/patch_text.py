"""The `*** Begin Patch` format as data: parses, and knows no file."""

import re
from dataclasses import dataclass, field

from services.chassis.errors import ServiceError
from services.wire.errors import ErrorCode

_BEGIN = "*** Begin Patch"
_END = "*** End Patch"
_END_OF_FILE = "*** End of File"
_ADD = "*** Add File: "
_UPDATE = "*** Update File: "
_DELETE = "*** Delete File: "
_MOVE = "*** Move to: "
_UNIFIED = re.compile(r"^-\d+(?:,\d+)? \+\d+(?:,\d+)?(?: @@.*)?$")


@dataclass(slots=True)
class Hunk:
    """One place of a file: `lines` are (sign, text) with sign ` `, `-` or `+`; `anchors` are lines to seek first."""

    anchors: list[str]
    lines: list[tuple[str, str]] = field(default_factory=list)
    at_end: bool = False

    @property
    def old(self) -> list[str]:
        """The lines that must be there."""
        return [text for sign, text in self.lines if sign != "+"]


@dataclass(frozen=True, slots=True)
class Add:
    """Create a file."""

    path: str
    content: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a file."""

    path: str


@dataclass(frozen=True, slots=True)
class Update:
    """Change a file, and move it if `move_to` is given."""

    path: str
    move_to: str | None
    hunks: list[Hunk]


Operation = Add | Delete | Update


def parse(text: str) -> list[Operation]:
    """Return the operations of a patch, which may stand in a heredoc or a code fence.

    Raises:
        ServiceError: invalid_field, with the line that is wrong.
    """
    return _Parser(_body(text)).operations()


def refuse(number: int, reason: str) -> ServiceError:
    """Return the error for line `number` of the patch."""
    return ServiceError(ErrorCode.INVALID_FIELD, f"Patch line {number}: {reason}")


def _body(text: str) -> list[tuple[int, str]]:
    """Return the numbered lines between the two markers."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    starts = [number for number, line in enumerate(lines) if line.strip() == _BEGIN]
    if not starts:
        raise ServiceError(ErrorCode.INVALID_FIELD, f"The patch must begin with '{_BEGIN}' on a line of its own.")
    ends = [number for number, line in enumerate(lines) if number > starts[0] and line.strip() == _END]
    if not ends:
        raise ServiceError(ErrorCode.INVALID_FIELD, f"The patch must end with '{_END}' on a line of its own.")
    # Up to the last end marker: an added line may contain one of its own, with its sign in front.
    return list(enumerate(lines[starts[0] + 1 : ends[-1]], start=starts[0] + 2))


class _Parser:
    def __init__(self, lines: list[tuple[int, str]]) -> None:
        self._lines = lines
        self._next = 0

    def operations(self) -> list[Operation]:
        found: list[Operation] = []
        while (line := self._peek()) is not None:
            if not line.strip():
                self._next += 1
            elif line.startswith(_ADD):
                found.append(self._add(self._taken(_ADD)))
            elif line.startswith(_DELETE):
                found.append(Delete(self._taken(_DELETE)))
            elif line.startswith(_UPDATE):
                found.append(self._update(self._taken(_UPDATE)))
            else:
                wanted = f"'{_ADD}PATH', '{_UPDATE}PATH' or '{_DELETE}PATH'"
                raise refuse(self._number(), f"expected {wanted}, found {line[:80]!r}.")
        if not found:
            raise ServiceError(ErrorCode.INVALID_FIELD, "The patch is empty; put at least one file in it.")
        return found

    def _peek(self) -> str | None:
        return self._lines[self._next][1] if self._next < len(self._lines) else None

    def _number(self) -> int:
        return self._lines[min(self._next, len(self._lines) - 1)][0]

    def _taken(self, prefix: str) -> str:
        path = self._lines[self._next][1].removeprefix(prefix).strip()
        if not path:
            raise refuse(self._number(), "the path is missing.")
        self._next += 1
        return path

    def _add(self, path: str) -> Add:
        content = []
        while (line := self._peek()) is not None and not line.startswith("*** "):
            if not line.startswith("+"):
                if not line.strip():
                    self._next += 1
                    continue
                raise refuse(self._number(), f"every line of a new file starts with '+', found {line[:80]!r}.")
            content.append(line[1:] + "\n")
            self._next += 1
        return Add(path, "".join(content))

    def _update(self, path: str) -> Update:
        start = self._number()
        line = self._peek()
        move_to = self._taken(_MOVE) if line is not None and line.startswith(_MOVE) else None
        hunks: list[Hunk] = []
        while (line := self._peek()) is not None and not _is_file_header(line):
            hunks.append(self._hunk(first=not hunks))
        hunks = [hunk for hunk in hunks if hunk.lines]
        if not hunks and move_to is None:
            raise refuse(start - 1, f"the update of {path} changes nothing; add a hunk that starts with '@@'.")
        return Update(path, move_to, hunks)

    def _hunk(self, *, first: bool) -> Hunk:
        hunk = Hunk(anchors=[])
        while (line := self._peek()) is not None and line.startswith("@@"):
            anchor = line[2:].strip()
            # Unified diff's line numbers are accepted and not believed.
            if anchor and not _UNIFIED.match(anchor):
                hunk.anchors.append(line[3:] if line.startswith("@@ ") else line[2:])
            self._next += 1
            first = True
        if not first:
            raise refuse(self._number(), f"expected '@@' before the next place, found {(line or '')[:80]!r}.")
        while (line := self._peek()) is not None and self._take_line(line, hunk):
            self._next += 1
        _drop_blank_ends(hunk, last=line is None or _is_file_header(line))
        if line is not None and line.strip() == _END_OF_FILE:
            hunk.at_end = True
            self._next += 1
            while (line := self._peek()) is not None and not line.strip():
                self._next += 1
        return hunk

    def _take_line(self, line: str, hunk: Hunk) -> bool:
        if line.startswith(("@@", "*** ")):
            return False
        if not line:
            hunk.lines.append((" ", ""))
        elif line[0] in " +-":
            hunk.lines.append((line[0], line[1:]))
        else:
            reason = f"a line of an update starts with ' ', '-' or '+', found {line[:80]!r}."
            raise refuse(self._number(), reason)
        return True


def _is_file_header(line: str) -> bool:
    return line.startswith((_ADD, _UPDATE, _DELETE))


def _drop_blank_ends(hunk: Hunk, *, last: bool) -> None:
    # Quite empty lines before the next file are layout; a true empty context line has its space.
    if last:
        while hunk.lines and hunk.lines[-1] == (" ", ""):
            hunk.lines.pop()
