"""Commits from the text of `git log`, in whichever format a tool prints it. Knows no tool."""

import re

SNAPSHOT = "Uncommitted changes of the local work tree"
"""Subject of the commit that stands for what the user of a local repository has not committed."""

_YOURS = "(your uncommitted changes)"


def commits(text: str) -> list[str]:
    """Return commits one per line, from git's one-line formats and from its long one."""
    return [f"{line.split()[0]} {_YOURS}" if line.endswith(f" {SNAPSHOT}") else line for line in _lines(text)]


def newest(text: str, limit: int) -> list[str]:
    """Return the newest `limit` commits; the user's uncommitted changes come before them and do not count."""
    lines = commits(text)
    return lines[: limit + has_snapshot(lines)]


def has_snapshot(lines: list[str]) -> bool:
    """Whether the newest of these commits stands for the user's uncommitted changes."""
    return bool(lines) and lines[0].endswith(_YOURS)


def own(lines: list[str]) -> list[str]:
    """Return the commits that are the project's."""
    return lines[1:] if has_snapshot(lines) else lines


def _lines(text: str) -> list[str]:
    if not re.match(r"commit [0-9a-f]{7,40}", text.lstrip()):
        lines = [line.strip() for line in text.splitlines() if re.search(r"[0-9a-f]{7}", line)]
        return [re.sub(r"^\W{0,2}\s*([0-9a-f]{7})[0-9a-f]*\b", r"`\1`", line) for line in lines]
    found = []
    for block in re.split(r"^(?=commit [0-9a-f]{7,40})", text, flags=re.MULTILINE)[1:]:
        date = re.search(r"^Date:\s+(.+)$", block, re.MULTILINE)
        subject = re.search(r"^    (.+)$", block, re.MULTILINE)
        found.append(" ".join(filter(None, (f"`{block[7:14]}`", date and date.group(1), subject and subject.group(1)))))
    return found
