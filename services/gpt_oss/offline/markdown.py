"""Markdown for answers: code blocks, quotations, lists, and text cut to its limits. Knows no intent."""

import re
from collections.abc import Iterable

MAX_BLOCK = 9_000
"""Longest code block in characters."""


def clip(text: str, most: int) -> str:
    """Return the beginning of a long text, cut at a line, with a mark and an open code block closed."""
    if len(text) <= most:
        return text
    head = text[: most - 120]
    head = head[: head.rfind("\n")] if "\n" in head[-400:] else head
    opened = re.findall(r"^(`{3,})", head, re.MULTILINE)
    closing = f"\n{opened[-1]}" if len(opened) % 2 else ""
    return f"{head}{closing}\n\n… {len(text) - len(head):,} more characters are not shown."


def tail(text: str, most: int) -> str:
    """Return the end of a long output, where its verdict is."""
    return text if len(text) <= most else f"… {len(text) - most:,} characters before are not shown.\n{text[-most:]}"


def fence(text: str, language: str = "", *, most: int = MAX_BLOCK) -> str:
    """Return text as a code block that nothing in it can close."""
    kept = text.strip("\n")
    if len(kept) > most:
        head = kept[:most].rpartition("\n")[0] or kept[:most]
        kept = f"{head}\n… {kept.count(chr(10)) - head.count(chr(10)):,} more lines are not shown."
    marks = "`" * max(3, *(len(run) + 1 for run in re.findall(r"`{3,}", kept) or [""]))
    return f"{marks}{language}\n{kept}\n{marks}"


def quote(text: str) -> str:
    """Return text as a Markdown quotation."""
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def bullets(items: Iterable[str]) -> str:
    """Return items as a list."""
    return "\n".join(f"- {item}" for item in items)


def plural(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def short(text: str, most: int = 120) -> str:
    """Return a text as one line of at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def code(text: str, most: int = 160) -> str:
    """Return a text as inline code, whatever backticks it has."""
    line = short(text, most)
    return f"`` {line} ``" if "`" in line else f"`{line}`"
