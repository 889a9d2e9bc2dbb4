"""The prose of a README in Markdown, reStructuredText, HTML or plain text. Knows no project and no answer."""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass

_MAX = 30_000
_MAX_PARAGRAPH = 4_000
_TELLING = 2
"""The last rank that is a place made for saying what the project is."""
_BORING = re.compile(
    r"\b(install|installing|installation|licen[cs]e|contribut|usage|quick ?start|getting started|requirements|changelog"
    r"|credits|authors?|sponsors?|support|donat|links|badges|build status|table of contents|contents|community|thanks"
    r"|acknowledg|release|documentation|docs|test|develop|security|citation|news|what's new|status)",
    re.IGNORECASE,
)
_ABOUT = re.compile(r"\b(about|overview|introduction|what is|what's|description|summary|abstract|why)\b", re.IGNORECASE)
_ADMONITION = re.compile(
    r"^\s*>\s*\[!\w+\]|^\s*>?\s*\*{0,2}(note|warning|important|tip|caution)\*{0,2}\s*:", re.IGNORECASE
)
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\]\([^)]*\)|!\[[^\]]*\])*\](?:\([^)]*\)|\[[^\]]*\]|:\s*\S+)|https?://\S+")


@dataclass(frozen=True, slots=True)
class Readme:
    """Title, the paragraphs that say what it is about, and the headings of its sections."""

    title: str
    prose: tuple[str, ...]
    headings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Block:
    kind: str  # heading, prose, quote, html, list
    text: str
    level: int = 0


@dataclass(frozen=True, slots=True)
class _Candidate:
    rank: int
    section: int
    text: str
    bullets: tuple[str, ...] = ()


def read_readme(name: str, text: str) -> Readme:
    """Return what a README says, by the format its name shows and, without one, by its look."""
    text = text[:_MAX].replace("\r\n", "\n").replace("\r", "\n").lstrip("\ufeff")
    blocks = list(_rst_blocks(text) if _is_rst(name, text) else _markdown_blocks(text))
    headings = [block for block in blocks if block.kind == "heading"]
    title = headings[0].text if headings else ""
    return Readme(title, _prose(blocks), tuple(block.text for block in headings[1:]))


def section(name: str, text: str, wanted: re.Pattern[str]) -> str:
    """Return the source text of the first section whose heading matches, up to the next heading of its level."""
    lines = text[:_MAX].replace("\r\n", "\n").split("\n")
    found: list[str] = []
    level = 0
    for index, line in enumerate(lines):
        here = _heading_level(lines, index, rst=_is_rst(name, text))
        if level and here and here <= level:
            break
        if level:
            found.append(line)
        elif here and wanted.search(line):
            level = here
            found.append(line)
    return "\n".join(found).strip()


def _heading_level(lines: list[str], index: int, *, rst: bool) -> int:
    """Return the level of the heading on a line, 0 for none; inside a code fence there is none."""
    line = lines[index]
    if rst:
        under = lines[index + 1].strip() if index + 1 < len(lines) else ""
        return 2 + "=-~^\"'".find(under[0]) if line.strip() and _is_rule(under, len(line.strip())) else 0
    if sum(1 for before in lines[:index] if before.lstrip().startswith(("```", "~~~"))) % 2:
        return 0
    found = re.match(r"(#{1,6})\s+\S", line)
    return len(found.group(1)) if found else 0


def _is_rst(name: str, text: str) -> bool:
    lowered = name.lower()
    if lowered.endswith((".rst", ".rest")):
        return True
    if lowered.endswith((".md", ".markdown", ".html", ".htm")):
        return False
    return bool(re.search(r"^\.\. \S|^[=\-~]{4,}\s*$", text, re.MULTILINE)) and not re.search(
        r"^#+ ", text, re.MULTILINE
    )


def _prose(blocks: list[_Block]) -> tuple[str, ...]:
    """Pick the best place of the README, then its first paragraph, and the next one when the first is short."""
    # Where no paragraph is a sentence, an introduction of two words is better than none.
    candidates = list(_candidates(blocks)) or [few for few in _candidates(blocks, fewest=2) if few.rank <= _TELLING]
    if not candidates:
        return ()
    best = min(candidates, key=lambda candidate: candidate.rank)
    same = [c for c in candidates if c.rank == best.rank and c.section == best.section]
    chosen: list[str] = []
    for candidate in same:
        chosen.append(candidate.text)
        if candidate.bullets:
            chosen.append("\n".join(f"- {bullet}" for bullet in candidate.bullets[:6]))
        if sum(map(len, chosen)) > 160 or len(chosen) >= 3:
            break
    return tuple(chosen)


def _candidates(blocks: list[_Block], *, fewest: int = 4) -> Iterator[_Candidate]:
    """Rank paragraphs: the introduction, an 'About' section, taglines in HTML or quotes, any other telling section."""
    number, heading = 0, ""
    for index, block in enumerate(blocks):
        if block.kind == "heading":
            number, heading = number + 1, block.text if number else ""
            continue
        if block.kind == "list" or not _is_prose(block.text, fewest):
            continue
        following = blocks[index + 1] if index + 1 < len(blocks) else None
        lead = following is not None and following.kind == "list" and block.text.endswith(":")
        bullets = tuple(following.text.split("\n")) if lead and following is not None else ()
        if block.text.endswith(":") and not bullets:
            continue
        yield _Candidate(_rank(block, number, heading), number, block.text, bullets)


def _rank(block: _Block, number: int, heading: str) -> int:
    intro = number <= 1
    if block.kind == "prose" and intro:
        return 0
    if block.kind == "prose" and _ABOUT.search(heading):
        return 1
    if intro:
        return 2
    return 4 if _BORING.search(heading) else 3


def _is_prose(text: str, fewest: int = 4) -> bool:
    """Whether a paragraph is a sentence about something, not a row of links, a version line or a command."""
    if _ADMONITION.match(text) or re.match(r"^[\w ]{1,30}:\s*\S+$", text):
        return False
    letters = sum(character.isalpha() for character in text)
    words = re.findall(r"[^\W\d_]{2,}", re.sub(r"https?://\S+", " ", text))
    wide = sum("\u3040" <= c <= "\u9fff" or "\uac00" <= c <= "\ud7af" for c in text)
    sentence = len(words) >= fewest or (len(words) == 3 and text.endswith((".", "!")))
    return (sentence or wide >= 8) and letters > len(text) * 0.5


def _markdown_blocks(text: str) -> Iterator[_Block]:
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"\A---\n.*?\n---\n", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r"^ {0,3}(```|~~~).*?^ {0,3}\1[^\n]*$", "\n", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<(pre|script|style|table|details|svg)\b.*?</\1\s*>", "\n", text, flags=re.DOTALL | re.IGNORECASE)
    text = re.sub(r"<(h[1-6])\b[^>]*>(.*?)</\1\s*>", _html_heading, text, flags=re.DOTALL | re.IGNORECASE)
    text = re.sub(r"^(?P<t>[^\n#>|\-*\s][^\n]*)\n(=+|-{3,}) *$", _setext, text, flags=re.MULTILINE)
    for chunk in re.split(r"\n\s*\n", re.sub(r"^(#{1,6} [^\n]*)$", r"\n\1\n", text, flags=re.MULTILINE)):
        yield from _markdown_block(chunk.strip("\n"))


def _markdown_block(chunk: str) -> Iterator[_Block]:
    chunk = chunk[:_MAX_PARAGRAPH]
    head = chunk.lstrip()
    if not head or head.startswith("|") or chunk.startswith(("    ", "\t")) or re.fullmatch(r"[-*_=\s]+", head):
        return
    if heading := re.match(r"(#{1,6})\s+(.*)", head):
        if title := _inline(heading.group(2).rstrip("# ")):
            yield _Block("heading", title, len(heading.group(1)))
    elif _ADMONITION.match(head):
        return
    elif re.match(r"([-*+]|\d+[.)])\s", head):
        items = [
            re.sub(r"^\s*([-*+]|\d+[.)])\s+", "", item) for item in re.split(r"\n(?=\s*(?:[-*+]|\d+[.)])\s)", head)
        ]
        yield _Block("list", "\n".join(text for item in items if (text := _inline(item))))
    elif head.startswith("<") and not re.match(r"<(https?:|\w+@)", head):
        yield from _html_blocks(chunk)
    elif head.startswith(">"):
        yield _Block("quote", _inline(re.sub(r"^\s*>\s?", "", chunk, flags=re.MULTILINE)))
    elif not _mostly_links(head):
        yield _Block("prose", _inline(head))


def _html_blocks(chunk: str) -> Iterator[_Block]:
    """Read the paragraphs of an HTML block; links and images in them say nothing about the project."""
    for piece in re.split(r"</?(?:p|div|br|center|li|ul|tr|td)\b[^>]*>", chunk, flags=re.IGNORECASE):
        plain = re.sub(r"<a\b.*?</a\s*>", " ", piece, flags=re.DOTALL | re.IGNORECASE)
        if _is_prose(_inline(plain)):
            yield _Block("html", _inline(piece))


def _html_heading(found: re.Match[str]) -> str:
    title = " ".join(re.sub(r"<[^>]+>", " ", found.group(2)).split())
    return f"\n\n{'#' * int(found.group(1)[1])} {title}\n\n" if title else "\n\n"


def _setext(found: re.Match[str]) -> str:
    return f"\n{'#' if found.group(2).startswith('=') else '##'} {found.group('t')}\n"


def _mostly_links(text: str) -> bool:
    """Whether little is left of a paragraph without its links and images."""
    bare = _LINK.sub(" ", text)
    if bare == text:
        return False
    words = re.sub(r"https?://\S+|[^\w\s]", " ", bare).split()
    return len(words) <= max(3, len(text.split()) * 0.35)


def _inline(text: str) -> str:
    """Return inline Markdown and HTML as one line: images gone, links as their text, tags gone."""
    text = re.sub(r"^\s*\[[^\]]+\]:\s*\S+.*$", " ", text, flags=re.MULTILINE)
    text = re.sub(r"!\[[^\]]*\](\([^)]*\)|\[[^\]]*\])", " ", text)
    text = re.sub(r"\[\s*\]\([^)]*\)", " ", text)
    text = re.sub(r"\[([^\[\]]+)\]\([^)]*\)|\[([^\[\]]+)\]\[[^\]]*\]", lambda m: m.group(1) or m.group(2), text)
    text = re.sub(r"(?<!\w)\[([^\[\]!]{2,60})\](?![(\[:])", r"\1", text)
    text = re.sub(r"<(https?://[^>\s]+)>", r"\1", text)
    text = re.sub(r"</?[a-zA-Z][^>]*>", " ", text)
    text = re.sub(r":[a-z0-9_+]+:", lambda m: m.group(0) if m.group(0)[1:-1].isdigit() else " ", text)
    return re.sub(r" +([.,;:!?])", r"\1", " ".join(html.unescape(text).split()))


def _rst_blocks(text: str) -> Iterator[_Block]:
    lines = text.expandtabs(4).split("\n")
    index = 0
    while index < len(lines):
        line = lines[index]
        following = lines[index + 1] if index + 1 < len(lines) else ""
        if not line.strip():
            index += 1
        elif _is_rule(line) and index + 2 < len(lines) and _is_rule(lines[index + 2]) and following.strip():
            yield _Block("heading", _rst_inline(following), 1)
            index += 3
        elif not line.startswith(" ") and _is_rule(following, len(line.rstrip())):
            yield _Block("heading", _rst_inline(line), 1)
            index += 2
        elif re.match(r"\.\.(\s|$)|__\s", line.strip()):
            index = _after_indented(lines, index + 1, _indent(line))
        else:
            end = _paragraph_end(lines, index)
            yield from _rst_block(lines[index:end])
            literal = lines[end - 1].rstrip().endswith("::")
            index = _after_indented(lines, end, _indent(line)) if literal else end


def _rst_block(lines: list[str]) -> Iterator[_Block]:
    first = lines[0]
    text = " ".join(line.strip() for line in lines)[:_MAX_PARAGRAPH]
    if re.match(r"([-*+•]|\d+[.)]|#\.)\s", first.lstrip()):
        items = re.split(r"\s*\n\s*(?:[-*+•]|\d+[.)]|#\.)\s+", "\n" + "\n".join(lines))
        yield _Block("list", "\n".join(_rst_inline(item) for item in items if item.strip()))
    elif (
        re.match(r":[\w -]+:(\s|$)|\+[-=+]+|[=\s]+$|[|>]", first.lstrip())
        or _is_rule(first)
        or _mostly_links(re.sub(r"`[^`<]+<([^>]*)>`__?", r"[x](\1)", text))
    ):
        return
    elif plain := _rst_inline(re.sub(r"\s*::$", ":", text)):
        yield _Block("quote" if first.startswith(" ") else "prose", plain)


def _rst_inline(text: str) -> str:
    """Return inline reStructuredText as one line of Markdown."""
    text = re.sub(r"\|[^|\s][^|]*\|_{0,2}", " ", text)
    text = re.sub(r":[\w:+-]+:`([^`<]*?)\s*(?:<[^>]*>)?`", r"`\1`", text)
    text = re.sub(r"`([^`<]+?)\s*<[^>]*>`__?", r"\1", text)
    text = re.sub(r"(?<!`)`([^`]+)`__?", r"\1", text)
    text = re.sub(r"\s?\[[\w#*]+\]_", "", text)
    text = re.sub(r"\b(\w+)__?(?=[\s.,;:)]|$)", r"\1", text)
    text = text.replace("``", "`")
    return re.sub(r" +([.,;:!?])", r"\1", " ".join(text.split()))


def _is_rule(line: str, title: int = 5) -> bool:
    """Whether a line is a title's rule: one mark repeated, about as long as the title (wide letters count double)."""
    bare = line.strip()
    return len(bare) >= max(2, title - 2) and len(set(bare)) == 1 and bare[0] in "=-~^\"'#*+_`"


def _paragraph_end(lines: list[str], index: int) -> int:
    while index < len(lines) and lines[index].strip():
        index += 1
    return index


def _after_indented(lines: list[str], index: int, above: int) -> int:
    """Return the line after a directive's or literal block's body."""
    while index < len(lines) and (not lines[index].strip() or _indent(lines[index]) > above):
        index += 1
    return index


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
