"""A long file read on by pages, where a tool or its caller cut the text. Knows no answer."""

import re
from collections.abc import Generator
from dataclasses import dataclass

from services.gpt_oss.offline.lookups import Lookup, ReadFile
from services.gpt_oss.offline.results import Observation, file_text

PAGES = 7
"""Most pages after the first look at a file."""

_PAGE = 16_000
"""Characters of a page, so that the usual callers do not cut it."""

_MOST_LINES = 1_500
_HEAD = re.compile(r"\A\[[^\]\n]+: lines (\d+)-(\d+) of (\d+)\]\n")
_CUT = re.compile(r"\n(?:…|\[\.\.\.) ?\[?[\d, of]+ characters cut\b[^\n]*\n|\n\[the rest is not shown\]\s*\Z")


@dataclass(frozen=True, slots=True)
class Text:
    """The lines of a file from its first one on, and whether they are all of it."""

    lines: tuple[str, ...]
    whole: bool

    @property
    def text(self) -> str:
        """The lines as one text."""
        return "\n".join(self.lines)


@dataclass(frozen=True, slots=True)
class _Page:
    """Lines from `first` on; `last` is true when they reach the file's end, None when the tool does not say."""

    first: int
    lines: list[str]
    last: bool | None


def read_on(path: str, seen: Observation) -> Generator[tuple[Lookup, ...], tuple[Observation, ...], Text]:
    """Read what is missing after the first look at a file, page by page, as far as calls go."""
    page = _page(seen.text, 1)
    lines = page.lines
    # A first look without a head and without a cut is the file.
    last = page.last is None or page.last
    for _ in range(PAGES):
        if last:
            break
        first = len(lines) + 1
        size = max(sum(map(len, lines)) // max(len(lines), 1) + 1, 1)
        (seen,) = yield (ReadFile(path, first, first + min(max(_PAGE // size, 1), _MOST_LINES) - 1),)
        page = _page(seen.text, first)
        # A tool that knows no line numbers gives its beginning again.
        if not seen.ok or page.first != first or page.lines[:20] == lines[:20]:
            break
        last = not page.lines if page.last is None else page.last
        lines = lines + page.lines
    return Text(tuple(lines), last)


def _page(text: str, first: int) -> _Page:
    """Return the whole lines of a tool's answer that are before any cut, and whether the file ends with them."""
    head = _HEAD.match(text)
    cut = _CUT.search(text)
    first = int(head[1]) if head else first
    kept = file_text(text[: cut.start()] if cut else text)
    lines = kept.split("\n") if kept else []
    if cut:
        return _Page(first, lines[:-1], last=False)
    if head is None:
        return _Page(first, lines, last=None)
    # Empty lines at a page's end were lost on the way.
    lines += [""] * (int(head[2]) - first + 1 - len(lines))
    return _Page(first, lines, last=int(head[2]) >= int(head[3]))
