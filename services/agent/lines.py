"""One file's lines under a patch: where a hunk belongs, and what becomes of the lines. Knows no path."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.agent.patch_text import Hunk

_TYPOGRAPHIC = str.maketrans(
    dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-")
    | dict.fromkeys("\u2018\u2019\u201a\u201b", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f", '"')
    | dict.fromkeys("\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " ")
)

_LOOSENESS: tuple[Callable[[str], str], ...] = (
    lambda line: line,
    str.rstrip,
    str.strip,
    lambda line: line.translate(_TYPOGRAPHIC).strip(),
)
"""How two lines are compared, strictest first."""

_NEAREST_WINDOWS = 20_000


class NoMatch(Exception):
    """A hunk's lines are not in the file; the message says which and where the nearest are."""


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    end: str


@dataclass(frozen=True, slots=True)
class _Edit:
    start: int
    stop: int
    lines: list[_Line]


def updated(content: bytes, hunks: Sequence[Hunk]) -> bytes:
    """Return `content` with the hunks applied, each sought after the one before.

    Bytes that are not UTF-8 survive as they are.

    Raises:
        NoMatch: when a hunk's lines are not found.
    """
    before = _split(content.decode("utf-8", "surrogateescape"))
    texts = [line.text for line in before]
    end = _usual_end(before)
    edits: list[_Edit] = []
    position = 0
    for hunk in hunks:
        edit = _edit(hunk, before, texts, position, end)
        edits.append(edit)
        position = edit.stop
    after = list(before)
    for edit in reversed(edits):
        after[edit.start : edit.stop] = edit.lines
    return _join(after, end, before).encode("utf-8", "surrogateescape")


def _split(text: str) -> list[_Line]:
    pieces = text.split("\n")
    lines = [_Line(piece[:-1], "\r\n") if piece.endswith("\r") else _Line(piece, "\n") for piece in pieces[:-1]]
    return [*lines, _Line(pieces[-1], "")] if pieces[-1] else lines


def _usual_end(lines: Sequence[_Line]) -> str:
    ends = [line.end for line in lines if line.end]
    return "\r\n" if ends.count("\r\n") * 2 > len(ends) else "\n"


def _join(lines: list[_Line], end: str, before: Sequence[_Line]) -> str:
    if not lines:
        return ""
    # A file without a last newline keeps that habit; a line that is no longer the last gets one.
    last_end = "" if before and not before[-1].end else lines[-1].end or end
    text = "".join(line.text + (line.end or end) for line in lines[:-1])
    return text + lines[-1].text + last_end


def _edit(hunk: Hunk, before: Sequence[_Line], texts: Sequence[str], position: int, end: str) -> _Edit:
    for anchor in hunk.anchors:
        found = _seek(texts, [anchor], position, at_end=False)
        if found is None:
            raise NoMatch(_explain(texts, [anchor], position, "the '@@' line"))
        position = found + 1
    old = hunk.old
    if not old:
        # Nothing to find: after the anchor, or at the end of the file.
        place = position if hunk.anchors and not hunk.at_end else len(texts)
        return _Edit(place, place, [_Line(text, end) for _, text in hunk.lines])
    start = _seek(texts, old, position, at_end=hunk.at_end)
    lines = hunk.lines
    if start is None and old[-1] == "" and lines[-1] == (" ", ""):
        # An empty last context line that stands for the end of the text.
        old, lines = old[:-1], lines[:-1]
        start = _seek(texts, old, position, at_end=hunk.at_end) if old else None
    if start is None:
        raise NoMatch(_explain(texts, hunk.old, position, "these lines"))
    return _Edit(start, start + len(old), _replaced(lines, before, start, end))


def _replaced(lines: Sequence[tuple[str, str]], before: Sequence[_Line], start: int, end: str) -> list[_Line]:
    result = []
    here = start
    for sign, text in lines:
        if sign == "+":
            result.append(_Line(text, end))
            continue
        if sign == " ":
            result.append(before[here])
        here += 1
    return result


def _seek(texts: Sequence[str], wanted: Sequence[str], position: int, *, at_end: bool) -> int | None:
    last = len(texts) - len(wanted)
    first = max(position, last) if at_end else position
    for loosen in _LOOSENESS:
        target = [loosen(line) for line in wanted]
        for start in range(first, last + 1):
            if loosen(texts[start]) == target[0] and [loosen(t) for t in texts[start : start + len(target)]] == target:
                return start
    return None


def _explain(texts: Sequence[str], wanted: Sequence[str], position: int, what: str) -> str:
    shown = "\n".join(wanted[:6])
    earlier = _seek(texts, wanted, 0, at_end=False)
    if earlier is not None:
        return (
            f"{what} are at line {earlier + 1}, before the place of the hunk above (or not at the end of the file); "
            f"order the hunks as the file is:\n{shown}"
        )
    nearest = _nearest(texts, wanted)
    if nearest is None:
        return f"{what} are not in the file; read it again:\n{shown}"
    there = "\n".join(texts[nearest : nearest + min(len(wanted), 6)])
    return f"{what} are not in the file:\n{shown}\nThe nearest are at line {nearest + 1}:\n{there}"


def _nearest(texts: Sequence[str], wanted: Sequence[str]) -> int | None:
    """Return where the most similar lines begin."""
    size = len(wanted)
    starts = range(min(max(1, len(texts) - size + 1), _NEAREST_WINDOWS)) if texts else range(0)
    plain = [line.strip() for line in wanted]
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(plain[0])
    best, best_score = None, 0.5
    for start in starts:
        window = [line.strip() for line in texts[start : start + size]]
        same = sum(a == b for a, b in zip(window, plain, strict=False)) / size
        matcher.set_seq1(window[0][:200])
        first = matcher.ratio() if matcher.quick_ratio() > 0.5 else 0.0
        score = max(same, first)
        if score > best_score:
            best, best_score = start, score
    return best
