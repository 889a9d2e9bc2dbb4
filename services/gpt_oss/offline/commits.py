"""Commits from the text of `git log`, in whichever format a tool prints it. Knows no tool."""

import re


def commits(text: str) -> list[str]:
    """Return commits one per line, from git's one-line formats and from its long one."""
    if not re.match(r"commit [0-9a-f]{7,40}", text.lstrip()):
        lines = [line.strip() for line in text.splitlines() if re.search(r"[0-9a-f]{7}", line)]
        return [re.sub(r"^\W{0,2}\s*([0-9a-f]{7})[0-9a-f]*\b", r"`\1`", line) for line in lines]
    found = []
    for block in re.split(r"^(?=commit [0-9a-f]{7,40})", text, flags=re.MULTILINE)[1:]:
        date = re.search(r"^Date:\s+(.+)$", block, re.MULTILINE)
        subject = re.search(r"^    (.+)$", block, re.MULTILINE)
        found.append(" ".join(filter(None, (f"`{block[7:14]}`", date and date.group(1), subject and subject.group(1)))))
    return found
