"""The answer to "what does this project do?": purpose, layout, languages, build, recent commits. Knows no tool."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.gpt_oss.offline.commits import newest
from services.gpt_oss.offline.manifests import Facts
from services.gpt_oss.offline.markdown import bullets, clip, code, plural
from services.gpt_oss.offline.project import test_command
from services.gpt_oss.offline.readme import Readme, read_readme
from services.gpt_oss.offline.results import Entry, Observation
from services.gpt_oss.offline.tree import describe, is_notable, languages

_MAX_TOP = 20
_NO_NAME = re.compile(
    r"\W*(summary|overview|read ?me|intro(duction)?|about|description|documentation|docs|welcome|getting started"
    r"|(table of )?contents|home|project|what is (this|it))\W*",
    re.IGNORECASE,
)
"""Headings that name a part of a README, not the project."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What an overview is written from."""

    top: Sequence[Entry]
    readme: str
    readme_text: str
    facts: Mapping[str, Facts]
    files: Sequence[str]
    whole: bool
    log: Observation


def overview(seen: Seen) -> str:
    """Say what the project is, what is in it, and how it is built and tested."""
    readme = read_readme(seen.readme, seen.readme_text) if seen.readme_text else Readme("", (), ())
    parts = [
        _purpose(readme, seen),
        _top(seen),
        _languages(seen),
        _building(seen),
        _recent(seen.log),
    ]
    return "\n\n".join(part for part in parts if part)


def is_named(seen: Seen, name: str) -> bool:
    """Whether the project, or its package, has that name."""
    named = [fact.name for fact in seen.facts.values()] + _titles(seen)
    return bool(_plain(name)) and _plain(name) in {_plain(item) for item in named}


def _titles(seen: Seen) -> list[str]:
    return [read_readme(seen.readme, seen.readme_text).title.strip("*`_ ")] if seen.readme_text else []


def _purpose(readme: Readme, seen: Seen) -> str:
    """Give the name and what the README says, else what a manifest says."""
    facts = [fact for fact in seen.facts.values() if fact.name or fact.description]
    heading = "" if _NO_NAME.fullmatch(readme.title) else readme.title
    name = next((fact.name for fact in facts if fact.name), "") or heading
    description = next((fact.description for fact in facts if fact.description), "").strip()
    # Where nothing else describes the project, a title of several words does.
    title = [readme.title] if len(readme.title.split()) >= 4 and not description else []
    said = "\n\n".join(clip(text, 900) for text in [*title, *readme.prose])
    head = f"**{name}**" if name else "**This repository**"
    if description:
        head += f": {_sentence(description)}"
    if said:
        same = _plain(description) and _plain(description) in _plain(said)
        return f"{f'**{name}**' if same and name else head}\n\n{said}\n\n(from `{seen.readme}`)"
    if description:
        source = next(key for key, fact in seen.facts.items() if fact.description)
        return f"{head}\n\n(from `{source}`)"
    missing = f"`{seen.readme}` has no description I can read" if seen.readme else "There is no README"
    return f"{head}\n\n{missing}, and no manifest I can read describes the project."


def _sentence(text: str) -> str:
    line = " ".join(text.split())
    return line if line.endswith((".", "!", "?")) else f"{line}."


def _plain(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum())


def _top(seen: Seen) -> str:
    """Show the top level: folders first, then the files that a first look should show."""
    notable = [entry for entry in seen.top if is_notable(entry)]
    shown = sorted(notable if len(seen.top) > _MAX_TOP else seen.top, key=lambda entry: not entry.directory)[:_MAX_TOP]
    if not shown:
        return "The repository is empty." if not seen.top else ""
    whats = [describe(entry, seen.files, counted=seen.whole) for entry in shown]
    lines = [f"`{entry.shown}`" + (f": {what}" if what else "") for entry, what in zip(shown, whats, strict=True)]
    left = len(seen.top) - len(shown)
    more = f"\n- and {left} more" if left else ""
    return f"**At the top level**\n\n{bullets(lines)}{more}"


def _languages(seen: Seen) -> str:
    counted = languages(seen.files)[:8]
    if not counted:
        return ""
    total = plural(len(seen.files), "file") if seen.whole else f"among the {len(seen.files):,} files I saw"
    return f"**Languages** ({total}): " + ", ".join(f"{language} {number}" for language, number in counted)


def _building(seen: Seen) -> str:
    """Say how the project is built and tested, and where that is written."""
    lines = []
    for name, fact in seen.facts.items():
        said = [*fact.notes, f"build: {code(fact.build)}" if fact.build else ""]
        if text := "; ".join(part for part in said if part):
            lines.append(f"`{name}`: {text}")
    chosen = test_command(seen.top, seen.facts)
    if chosen is not None:
        lines.append(f"tests: {code(chosen.command)} ({chosen.why})")
    return f"**Build and test**\n\n{bullets(lines)}" if lines else ""


def _recent(log: Observation) -> str:
    lines = newest(log.text, 3) if log.ok else []
    return f"**Recent commits**\n\n{bullets(lines)}" if lines else ""
