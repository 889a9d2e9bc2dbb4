"""The answers about history and changes. Every word comes from what was looked up. Knows no tool."""

import re

from services.gpt_oss.offline.commits import SNAPSHOT, commits, has_snapshot, newest, own
from services.gpt_oss.offline.markdown import MAX_BLOCK, bullets, fence, plural
from services.gpt_oss.offline.results import Observation

_MAX_STAT = 2_000
_MAX_MINE = 4_500
"""Longest diff of the user's own in characters, where one of the tasks has to fit below it."""


def log(seen: Observation, limit: int, path: str | None) -> str:
    """Show commits, one per line."""
    lines = newest(seen.text, limit)
    place = f" of `{path}`" if path else ""
    count = len(own(lines))
    if not count:
        edits = ", only your uncommitted changes" if lines else ""
        return f"There are no commits{place}{edits}."
    # As many as were asked for are hardly all there are.
    every = "The newest commit" if limit == 1 else f"The {limit} newest commits"
    head = f"{every}{place}" if count >= limit else f"{plural(count, 'commit')}{place}, newest first"
    edits = ", and your uncommitted changes" if has_snapshot(lines) else ""
    return f"{head}{edits}:\n\n{bullets(lines)}"


def counted(number: int | None, seen: Observation, limit: int, path: str | None) -> str:
    """Say how many commits there are, and show the newest."""
    lines = commits(seen.text) if seen.ok else []
    if number is None:
        cannot = "I cannot count the commits without a shell. " if len(own(lines)) >= limit else ""
        return cannot + log(seen, limit, path)
    place = f" of `{path}`" if path else ""
    edits = "; one of them stands for your uncommitted changes" if has_snapshot(lines) else ""
    said = f"{plural(number, 'commit')}{place}{edits}"
    if not lines:
        return f"{said}."
    return f"{said}:\n\n{bullets(lines)}" if len(lines) == number else f"{said}. {log(seen, limit, path)}"


def diff(seen: Observation, ref: str) -> str:
    """Show a comparison with a ref."""
    if _no_difference(seen.text):
        return f"There is no difference against `{ref}`."
    return f"{_diff_summary(seen.text)} against `{ref}`:\n\n{fence(seen.text, 'diff')}"


def changes(status: Observation, changed: Observation, last: Observation) -> str:
    """Show what is changed in the work tree, and the last commit when nothing is."""
    parts = _work_tree(status, changed)
    if not parts:
        return f"No uncommitted changes: the work tree is as it was committed. {_last(last)}".strip()
    return "\n\n".join(part for part in (*parts, _last(last)) if part)


def uncommitted(mine: Observation, later: tuple[Observation, Observation], last: Observation, path: str | None) -> str:
    """Show what the user has not committed, by its own commit, and what status and diff say came on top of it."""
    after = _work_tree(*later)
    on_top = ["What tasks changed after that:", *after] if after else []
    parts = [*_mine(mine.text, path, short=bool(after)), *on_top, _last(last)]
    return "\n\n".join(part for part in parts if part)


def commit(ref: str, seen: Observation) -> str:
    """Show one commit."""
    edits = " (your uncommitted changes)" if _is_snapshot(seen.text) else ""
    return f"Commit `{ref}`{edits}:\n\n{fence(seen.text, 'diff')}"


def _mine(text: str, path: str | None, *, short: bool) -> list[str]:
    head, *blocks = re.split(r"^(?=diff --git )", text, flags=re.MULTILINE)
    stat = head.partition(SNAPSHOT)[2].strip("-\n")
    place = ""
    if path is not None:
        named = re.compile(rf" b/{re.escape(path.removeprefix('./').rstrip('/'))}(?=/|$)")
        blocks = [block for block in blocks if named.search(block.split("\n", 1)[0])]
        stat, place = "", f" of `{path}`"
        if not blocks:
            return [f"You have no uncommitted changes{place}."]
    patch = "".join(blocks)
    # Git's own sum counts what was cut from the text, too.
    total = re.search(r"^ (\d+ files? changed.*)$", stat, re.MULTILINE)
    summary = total.group(1) if total else _diff_summary(patch)
    lines = fence(patch, "diff", most=_MAX_MINE if short else MAX_BLOCK) if patch else ""
    return [f"Your uncommitted changes{place} ({summary}):", fence(stat, most=_MAX_STAT) if stat else "", lines]


def _work_tree(status: Observation, changed: Observation) -> list[str]:
    """Return what status and diff say is changed; nothing when the tree is as it was committed."""
    # The branch line of a short status is no change.
    lines = (
        [line for line in status.text.splitlines() if line.strip() and not line.startswith("##")] if status.ok else []
    )
    clean = not lines or bool(
        re.search(r"nothing (to commit|has changed)|working tree clean", status.text, re.IGNORECASE)
    )
    if clean and _no_difference(changed.text):
        return []
    parts = [f"git status:\n\n{fence(chr(10).join(lines))}"] if lines else []
    if changed.ok and not _no_difference(changed.text):
        parts.append(f"{_diff_summary(changed.text)}:\n\n{fence(changed.text, 'diff')}")
    return parts


def _last(log: Observation) -> str:
    recent = own(commits(log.text))[:1] if log.ok else []
    return f"The last commit is {recent[0]}." if recent else ""


def _is_snapshot(text: str) -> bool:
    return re.search(rf"^    {SNAPSHOT}$", text.partition("\ndiff --git ")[0], re.MULTILINE) is not None


def _diff_summary(text: str) -> str:
    lines = text.splitlines()
    changed = sum(line.startswith("diff --git ") for line in lines)
    added = sum(line.startswith("+") and not line.startswith("+++") for line in lines)
    removed = sum(line.startswith("-") and not line.startswith("---") for line in lines)
    return f"{plural(changed, 'file')} changed, {added} lines added, {removed} removed" if changed else "Changes"


def _no_difference(text: str) -> bool:
    return re.fullmatch(r"\W*(no (differences?|changes)\W*|\(no output\))?\s*", text, re.IGNORECASE) is not None
