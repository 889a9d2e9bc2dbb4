"""What tools answer, made plain: the text without envelopes, the exit code, entries of a listing, search matches."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from services.gpt_oss.offline.lookups import Lookup, Role

_ENDED = re.compile(
    r"(?:\A|\n)\[?(?:exit(?:ed)?[ _](?:with )?code:?\s*(?P<code>-?\d+)|timed out (?P<late>[^\]\n]*))\]?"
    r"(?P<spill>\n\[the whole output[^\]\n]*\])?\s*\Z",
    re.IGNORECASE,
)
_PART = re.compile(r"\A\[[^\]\n]+: lines (\d+)-(\d+) of \d+\]\n")
_CUT = re.compile(r"^(?:…|\.{3}|\[).*\b(?:cut|not shown|truncated|omitted|more)\b.*$", re.MULTILINE)
_TEXT_KEYS = ("content", "text", "output", "stdout", "result")
_ENVELOPE = frozenset(
    [
        *_TEXT_KEYS,
        "stderr",
        "exit_code",
        "exitcode",
        "returncode",
        "path",
        "truncated",
        "status",
        "error",
        "total_lines",
    ]
)
_ART = re.compile(r"^[\s│├└─|`+\-]*[├└|`]\s*[─\-]{1,3}\s*|^[\s│|]+(?=\S)")
_LONG_LISTING = re.compile(r"^([-dlbcps])[rwxsStT-]{9}\S*\s+\d+\s+\S+\s+\S+\s+\d+\s+\S+\s+\S+\s+\S+\s(.+)$")
_MARKED = re.compile(r"^\[(DIR|FILE)\]\s+(.+)$")
_NOT_AN_ENTRY = re.compile(
    r"^(total \d+|\d+ director(y|ies),.*|\(?empty( directory)?\)?|\[[^\]]*\]|(…|\.{3}).*"
    r"|.*\b(truncated|omitted|more (entries|lines))\b.*)$"
)
_MATCH = re.compile(r"^(?P<path>[^:\n]{1,1000}):(?P<line>\d{1,7})[:\-](?P<text>.*)$")
_NUMBERED = re.compile(r"^\s*L?(\d{1,7})(?::|\t|→|\s\|)\s?(.*)$")


@dataclass(frozen=True, slots=True)
class Observation:
    """What came of one lookup. `text` of a failed one says why."""

    lookup: Lookup
    text: str
    ok: bool = True
    exit_code: int | None = None
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of a listing, without a trailing slash."""

    path: str
    directory: bool

    @property
    def shown(self) -> str:
        """The path as people write it: a directory with a trailing slash."""
        return f"{self.path}/" if self.directory else self.path


@dataclass(frozen=True, slots=True)
class Match:
    """One matching line."""

    path: str
    line: int
    text: str


def observe(lookup: Lookup, raw: str) -> Observation:
    """Return a tool's answer as an observation: envelope opened, exit code taken off, errors recognised."""
    text, code = _unwrap(raw)
    ended = _ENDED.search(text)
    if ended is not None:
        text = text[: ended.start()] + (ended["spill"] or "")
        code = int(ended["code"]) if ended["code"] else None
    stripped = text.strip()
    # A lookup that a shell command served fails with its command; a command that was asked for only ends.
    failed = bool(re.match(r"error\b\s*:", stripped, re.IGNORECASE)) or (lookup.role is not Role.RUN and bool(code))
    if failed:
        stripped = re.sub(r"^error\s*:\s*", "", stripped, flags=re.IGNORECASE)
    late = ended is not None and ended["late"] is not None
    return Observation(lookup, stripped if failed else text.rstrip("\n"), not failed, code, late)


def file_text(text: str) -> str:
    """Return the text of a file without what tools put around it: a head for a part of it, line numbers."""
    text = _PART.sub("", text)
    lines = text.split("\n")
    found = [_NUMBERED.match(line) for line in lines if line.strip()]
    numbers = [int(match.group(1)) for match in found if match is not None]
    if len(numbers) < 2 or len(numbers) != len(found) or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        return text
    return "\n".join(match.group(2) if (match := _NUMBERED.match(line)) else line for line in lines)


def entries(text: str) -> list[Entry]:
    """Return what a listing holds, in its order: plain paths, a tree, `ls -l` or JSON; git's own folder left out."""
    found = _from_json(text)
    if found is None:
        found = list(_from_lines(_whole_lines(text)))
    kept = {entry.path: entry for entry in found if entry.path.split("/")[0] != ".git" and entry.path not in ("", ".")}
    return list(kept.values())


def matches(text: str) -> list[Match]:
    """Return the matches in a search result."""
    found = (_MATCH.match(line) for line in text.splitlines())
    return [Match(m["path"].removeprefix("./"), int(m["line"]), m["text"].strip()) for m in found if m is not None]


def was_cut(text: str) -> bool:
    """Whether a tool says that it left something out."""
    return _CUT.search(text) is not None


def says_nothing(text: str) -> bool:
    """Whether a search result is a sentence saying that there is none."""
    return bool(re.match(r"\W*(no|0|nothing|none)\b.{0,60}$", text.strip(), re.IGNORECASE))


def _unwrap(raw: str) -> tuple[str, int | None]:
    """Open a JSON envelope; a JSON file's own text stays as it is."""
    if not raw.lstrip().startswith("{"):
        return raw, None
    try:
        parsed = json.loads(raw)
    except (ValueError, RecursionError):
        return raw, None
    if not isinstance(parsed, dict) or not parsed or not set(parsed) <= _ENVELOPE:
        return raw, None
    if isinstance(parsed.get("error"), str) and parsed["error"]:
        return f"error: {parsed['error']}", None
    text = next((parsed[key] for key in _TEXT_KEYS if isinstance(parsed.get(key), str)), raw)
    code = next(
        (parsed[key] for key in ("exit_code", "exitcode", "returncode") if isinstance(parsed.get(key), int)), None
    )
    return text, code


def _from_json(text: str) -> list[Entry] | None:
    if not text.lstrip().startswith(("[", "{")):
        return None
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(parsed, dict):
        parsed = next((value for value in parsed.values() if isinstance(value, list)), [])
    return list(_from_items(parsed, ""))


def _from_items(items: list[Any], above: str) -> Iterator[Entry]:
    for item in items:
        if isinstance(item, str):
            yield _plain(above + item)
        elif isinstance(item, dict) and isinstance(name := item.get("path") or item.get("name"), str):
            directory = str(item.get("type", "")).startswith("dir") or "children" in item
            path = name if item.get("path") else above + name
            yield Entry(_clean(path), directory or name.endswith("/"))
            yield from _from_items(item.get("children") or [], f"{path.rstrip('/')}/")


def _whole_lines(text: str) -> list[str]:
    """Return the lines of a listing; where its middle was cut out, the lines next to the cut are not whole."""
    lines = text.splitlines()
    cuts = {at for at, line in enumerate(lines) if re.search(r"(characters|bytes) cut\b", line) and _CUT.match(line)}
    return [line for at, line in enumerate(lines) if not {at - 1, at, at + 1} & cuts]


def _from_lines(lines: list[str]) -> Iterator[Entry]:
    """Read one entry per line; in a drawn or indented tree, the column says under which folder a name is."""
    above: list[tuple[int, str]] = []
    for line in lines:
        bare = line.strip()
        if not bare or (_NOT_AN_ENTRY.match(bare) and not _MARKED.match(bare)):
            continue
        if found := _LONG_LISTING.match(bare):
            yield Entry(_clean(found.group(2).split(" -> ")[0]), found.group(1) == "d")
        elif marked := _MARKED.match(bare):
            yield Entry(_clean(marked.group(2)), marked.group(1) == "DIR")
        else:
            art = _ART.match(line)
            column = len(art.group(0)) if art else 0
            entry = _plain(line[column:].strip())
            above = [(at, path) for at, path in above if at < column]
            path = f"{above[-1][1]}/{entry.path}" if above and column else entry.path
            if entry.directory or path in ("", "."):
                above.append((column, path.strip(".") if path == "." else path))
            yield Entry(path.lstrip("/") if column else path, entry.directory)


def _plain(text: str) -> Entry:
    # A link is marked with an @, as `ls -F` does.
    return Entry(_clean(text.removesuffix("@")), text.endswith("/"))


def _clean(path: str) -> str:
    return path.strip().removeprefix("./").rstrip("/")
