"""Rules for requests about history and changes. Knows no tool."""

import re

from services.gpt_oss.offline.ask import Ask, any_of
from services.gpt_oss.offline.intents import CountCommits, Diff, Intent, Log, Show

_REF = (
    r"(HEAD(?:[~^]\d*)*|[0-9a-f]{7,40}|v\d[\w.\-]*|(?:origin/)?(?:main|master|develop)"
    r"|[\w./-]*\w\.\.\.?[\w./-]*\w)(?![\w/])"
)
_LAST_COMMIT = any_of(r"\b(the )?(last|latest|newest|most recent|previous|head) commit\b")
_NAMED_COMMIT = re.compile(rf"\b(?:git show|show (?:me )?(?:the )?commit|commit)\s+{_REF}")


def show(ask: Ask) -> Intent | None:
    """Recognise a request for one commit."""
    if _LAST_COMMIT.search(ask.text):
        return Show()
    named = _NAMED_COMMIT.search(ask.text)
    return Show(named.group(1)) if named else None


_DIFF = any_of(
    r"\b(?:git )?(?:diff|status)\b",
    r"\bwhat(?:'s| has| have| is|s)?(?: been)? (?:changed|modified|new|different)\b",
    r"\b(?:un(?:committed|staged)|local|pending|working tree) (?:changes|edits|modifications|files)\b",
    r"\b(?:show|list|see|any|are there)(?: me)?(?: all| the| any)? changes\b",
    r"\b(?:what|which)(?: files)?(?: have| were| are)?(?: been)? (?:changed|modified)\b",
    r"\bchanges? since\b",
)
_AGAINST = re.compile(rf"\b(?:diff|against|since|from|with|to|between)\s+(?:commit\s+)?{_REF}")
_BETWEEN = re.compile(r"\bbetween\s+([\w./~^-]+)\s+and\s+([\w./~^-]*[\w~^])")


def diff(ask: Ask) -> Intent | None:
    """Recognise a request for what is changed, now or against a ref."""
    if not _DIFF.search(ask.text):
        return None
    between, against = _BETWEEN.search(ask.text), _AGAINST.search(ask.text)
    ref = f"{between.group(1)}..{between.group(2)}" if between else against.group(1) if against else None
    return Diff(ref, next((path for path in ask.paths if ref is None or path not in ref), None))


_COUNT = any_of(
    r"\bhow many commits\b", r"\bnumber of commits\b", r"\bcommit count\b", r"^count (?:all |the )*commits\b"
)
_SOME = any_of(
    r"\b(?:since|last|past|before|after|between|until|today|yesterday|days?|weeks?|months?|years?|by|did|made|branch)\b"
)
"""Words that ask for a part of the commits, which nothing here counts."""


def count(ask: Ask) -> Intent | None:
    """Recognise a request for the number of all commits."""
    return CountCommits(next(iter(ask.paths), None)) if _COUNT.search(ask.text) and not _SOME.search(ask.text) else None


_LOG = any_of(
    r"\bgit log\b",
    r"\bcommits\b",
    r"\bcommit (?:log|history|messages?)\b",
    r"\b(?:git|version|change|repo\w*) history\b",
    r"\bhistory of\b",
    r"\brecent (?:changes|work|activity|history)\b",
    r"\b(?:changed recently|recently changed)\b",
    r"\bwho (?:committed|changed|wrote)\b",
    r"^(?:log|history)\W*$",
    r"\bshow (?:me )?the (?:log|history)\b",
)


def log(ask: Ask) -> Intent | None:
    """Recognise a request for commits."""
    if not _LOG.search(ask.text) or re.search(r"\bdiff\b", ask.lower):
        return None
    number = re.search(r"\b(\d{1,3})\b", ask.text)
    limit = min(max(int(number.group(1)), 1), 200) if number else 10
    return Log(limit, next(iter(ask.paths), None))
