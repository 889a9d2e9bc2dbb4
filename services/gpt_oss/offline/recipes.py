"""What each intent looks up, and in which order. A recipe yields lookups, gets observations, returns the answer.

A recipe is replayed from its start at every request, so it must depend on nothing but its intent and what it is sent.
"""

import re
import shlex
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from services.gpt_oss.offline import answers, answers_git, overview
from services.gpt_oss.offline.commits import commits, has_snapshot
from services.gpt_oss.offline.intents import (
    About,
    Capabilities,
    CountCommits,
    Diff,
    Find,
    Intent,
    ListFiles,
    Log,
    NeedsModel,
    Outline,
    Overview,
    Read,
    Run,
    RunTests,
    Section,
    Show,
    Unknown,
    Where,
)
from services.gpt_oss.offline.lookups import (
    GitDiff,
    GitLog,
    GitShow,
    GitStatus,
    Listing,
    Lookup,
    ReadFile,
    RunCommand,
    Search,
)
from services.gpt_oss.offline.manifests import Facts, choose, read_manifest
from services.gpt_oss.offline.pages import read_on
from services.gpt_oss.offline.project import choose_licence, choose_readme, test_command
from services.gpt_oss.offline.results import Match, Observation, entries, file_text, matches, was_cut
from services.gpt_oss.offline.tree import files_of, top_level

DEEP = 10
"""Levels of a listing that stands for the whole repository."""

_HEAD = r"(?<![\w/-])HEAD(?![\w/-])"

Steps = Generator[tuple[Lookup, ...], tuple[Observation, ...], str]
Recipe = Callable[[Any], Steps]


def recipe_for(intent: Intent) -> Steps:
    """Return the steps of an intent, not yet started."""
    return RECIPES[type(intent)](intent)


def _overview(_: Overview) -> Steps:
    seen = yield from _first_look()
    return overview.overview(seen) if isinstance(seen, overview.Seen) else seen


def _about(intent: About) -> Steps:
    seen = yield from _first_look()
    if isinstance(seen, overview.Seen) and not overview.is_named(seen, intent.name):
        return (yield from _where(Where(intent.name)))
    return overview.overview(seen) if isinstance(seen, overview.Seen) else seen


def _first_look() -> Generator[tuple[Lookup, ...], tuple[Observation, ...], overview.Seen | str]:
    """Look at the top level, the README, two manifests, all names and three commits; a sentence when that fails."""
    (top,) = yield (Listing(),)
    if not top.ok:
        return answers.failed("list the repository", top)
    shown = top_level(entries(top.text))
    names = [entry.path for entry in shown if not entry.directory]
    readme, manifests = choose_readme(names), choose(names, 2)
    reads = [ReadFile(readme, 1, 300)] if readme else []
    got = yield (*reads, *(ReadFile(name) for name in manifests), Listing(depth=DEEP), GitLog(limit=4))
    text = file_text(got[0].text) if readme and got[0].ok else ""
    facts = _facts(manifests, got[len(reads) : -2])
    deep, log = got[-2], got[-1]
    listed = entries(deep.text) if deep.ok else entries(top.text)
    whole = deep.ok and not was_cut(deep.text)
    return overview.Seen(shown, readme or "", text, facts, files_of(listed), whole, log)


def _list(intent: ListFiles) -> Steps:
    (listing,) = yield (Listing(intent.path, DEEP if intent.deep else 1),)
    if not listing.ok:
        return answers.failed(f"list `{intent.path}`", listing)
    if not intent.deep:
        return answers.listing(intent.path, top_level(entries(listing.text), intent.path))
    files = files_of(entries(listing.text))
    kept = [path for path in files if not intent.endings or path.endswith(intent.endings)]
    return answers.files(intent.path, kept, intent.endings)


def _find(intent: Find) -> Steps:
    pattern = intent.text if intent.meaning else literal(intent.text)
    (found,) = yield (Search(pattern),)
    if not found.ok:
        return answers.failed(f"search for {intent.meaning or intent.text}", found)
    if matches(found.text) or intent.meaning:
        return answers.found(intent.meaning or f"`{intent.text}`", matches(found.text), found.text)
    (again,) = yield (Search(pattern, ignore_case=True),)
    return answers.found(f"`{intent.text}`", matches(again.text) if again.ok else [], again.text)


def _where(intent: Where) -> Steps:
    name = intent.name.removesuffix("()")
    if "/" in name or re.search(r"\.[A-Za-z]\w{0,4}$", name):
        (listing,) = yield (Listing(depth=DEEP),)
        kept = (
            [path for path in files_of(entries(listing.text)) if f"/{path}".endswith(f"/{name}")] if listing.ok else []
        )
        return answers.located(name, kept) if listing.ok else answers.failed(f"look for `{name}`", listing)
    (defined,) = yield (Search(definition_of(name.split(".")[-1])),)
    if not defined.ok:
        return answers.failed(f"search for `{name}`", defined)
    hits = matches(defined.text)
    if hits:
        return (yield from _definition(name, hits))
    mentioned, listing = yield (Search(literal(name), ignore_case=True), Listing(depth=DEEP))
    paths = [path for path in files_of(entries(listing.text)) if name.lower() in path.lower()] if listing.ok else []
    return answers.not_defined(name, matches(mentioned.text) if mentioned.ok else [], paths)


def _definition(name: str, hits: list[Match]) -> Steps:
    first = min(
        hits, key=lambda hit: (bool(re.search(r"(^|/)(tests?|docs?|examples?)/", hit.path)), hit.path, hit.line)
    )
    (snippet,) = yield (ReadFile(first.path, first.line, first.line + 24),)
    return answers.defined(name, first, hits, file_text(snippet.text) if snippet.ok else "")


def _log(intent: Log) -> Steps:
    # One more than asked for: the newest may stand for the user's uncommitted changes.
    (log,) = yield (GitLog(intent.limit + 1, intent.path),)
    return answers_git.log(log, intent.limit, intent.path) if log.ok else answers.failed("read the commit history", log)


def _count_commits(intent: CountCommits) -> Steps:
    path = f" -- {shlex.quote(intent.path)}" if intent.path else ""
    number, log = yield RunCommand(f"git rev-list --count HEAD{path}"), GitLog(11, intent.path)
    counted = number.text.strip() if number.ok and number.exit_code in (None, 0) else ""
    if not counted.isdecimal() and not log.ok:
        return answers.failed("count the commits", log)
    return answers_git.counted(int(counted) if counted.isdecimal() else None, log, 10, intent.path)


def _diff(intent: Diff) -> Steps:
    if intent.ref is not None:
        wanted = GitDiff((yield from _meant(intent.ref)), intent.path)
        (diff,) = yield (wanted,)
        if not diff.ok and ".." in intent.ref:
            # Not every diff tool takes a range; git itself does.
            (diff,) = yield (RunCommand(wanted.shell()),)
            diff = replace(diff, ok=diff.ok and diff.exit_code in (None, 0))
        return answers_git.diff(diff, intent.ref) if diff.ok else answers.failed(f"compare with `{intent.ref}`", diff)
    status, diff, log = yield (GitStatus(), GitDiff(path=intent.path), GitLog(limit=2))
    if not status.ok and not diff.ok:
        return answers.failed("ask git what is changed", status)
    if log.ok and has_snapshot(commits(log.text)):
        (mine,) = yield (GitShow(),)
        if not mine.ok:
            return answers.failed("show your uncommitted changes", mine)
        return answers_git.uncommitted(mine, (status, diff), log, intent.path)
    return answers_git.changes(status, diff, log)


def _meant(ref: str) -> Steps:
    """Return what a ref means to the user: to them, HEAD is below the commit that stands for their own changes."""
    if re.search(_HEAD, ref) is None:
        return ref
    (log,) = yield (GitLog(limit=1),)
    return re.sub(_HEAD, "HEAD~1", ref) if log.ok and has_snapshot(commits(log.text)) else ref


def _show(intent: Show) -> Steps:
    (commit,) = yield (GitShow((yield from _meant(intent.ref))),)
    return answers_git.commit(intent.ref, commit) if commit.ok else answers.failed(f"show `{intent.ref}`", commit)


def _read(intent: Read) -> Steps:
    (file,) = yield (ReadFile(intent.path),)
    return answers.file(intent.path, file) if file.ok else (yield from _similar(intent.path, file))


def _outline(intent: Outline) -> Steps:
    (file,) = yield (ReadFile(intent.path),)
    if not file.ok:
        return (yield from _similar(intent.path, file))
    if not intent.path.endswith((".py", ".pyi")):
        return answers.outlined(intent.path, file_text(file.text))
    read = yield from read_on(intent.path, file)
    return answers.python_outline(intent.path, read)


def _similar(path: str, failed: Observation) -> Steps:
    """After a file that could not be read: say why, and which files have that name."""
    (listing,) = yield (Listing(depth=DEEP),)
    name = PurePosixPath(path).name.lower()
    files = files_of(entries(listing.text)) if listing.ok else []
    return answers.unreadable(path, failed, [item for item in files if PurePosixPath(item).name.lower() == name])


def _run(intent: Run) -> Steps:
    (ran,) = yield (RunCommand(intent.command),)
    return answers.ran(intent.command, ran) if ran.ok else answers.failed(f"run `{intent.command}`", ran)


def _run_tests(_: RunTests) -> Steps:
    (top,) = yield (Listing(),)
    if not top.ok:
        return answers.failed("list the repository", top)
    shown = top_level(entries(top.text))
    names = [entry.path for entry in shown if not entry.directory]
    wanted = [name for name in choose(names, len(names)) if name not in ("PKG-INFO", "requirements.txt")][:4]
    got: tuple[Observation, ...] = ()
    if wanted:
        got = yield tuple(ReadFile(name) for name in wanted)
    chosen = test_command(shown, _facts(wanted, got))
    if chosen is None:
        return answers.no_tests(shown)
    (ran,) = yield (RunCommand(chosen.command, timeout_s=900),)
    return answers.tested(chosen, ran) if ran.ok else answers.failed(f"run `{chosen.command}`", ran)


def _section(intent: Section) -> Steps:
    (top,) = yield (Listing(),)
    if not top.ok:
        return answers.failed("list the repository", top)
    shown = top_level(entries(top.text))
    names = [entry.path for entry in shown if not entry.directory]
    licence = choose_licence(names) if intent.topic == "licence" else None
    readme, manifests = choose_readme(names), choose(names, 3)
    wanted = [name for name in (readme, licence) if name]
    if not wanted and not manifests:
        return answers.section(intent.topic, "", "", "", {})
    got = yield (*(ReadFile(name) for name in wanted), *(ReadFile(name) for name in manifests))
    texts = {
        lookup.path: file_text(seen.text) for seen in got if seen.ok and isinstance(lookup := seen.lookup, ReadFile)
    }
    facts = _facts(manifests, got[len(wanted) :])
    return answers.section(intent.topic, readme or "", texts.get(readme or "", ""), texts.get(licence or "", ""), facts)


def _needs_model(intent: NeedsModel) -> Steps:
    lookups: list[Lookup] = []
    if intent.keywords:
        lookups.append(Search("|".join(literal(word) for word in intent.keywords), ignore_case=True))
    source = next((path for path in intent.paths if path.endswith(".py")), None)
    if source is not None:
        lookups.append(ReadFile(source))
    got: tuple[Observation, ...] = ()
    if lookups:
        got = yield tuple(lookups)
    hits = matches(got[0].text) if intent.keywords and got[0].ok else []
    text = file_text(got[-1].text) if source is not None and got[-1].ok else ""
    return answers.needs_model(intent, hits, source or "", text)


def _capabilities(_: Capabilities) -> Steps:
    yield ()
    return answers.capabilities()


def _unknown(_: Unknown) -> Steps:
    yield ()
    return answers.unknown()


RECIPES: Mapping[type, Recipe] = {
    Overview: _overview,
    About: _about,
    ListFiles: _list,
    Find: _find,
    Where: _where,
    Log: _log,
    CountCommits: _count_commits,
    Diff: _diff,
    Show: _show,
    Read: _read,
    Outline: _outline,
    Run: _run,
    RunTests: _run_tests,
    Section: _section,
    NeedsModel: _needs_model,
    Capabilities: _capabilities,
    Unknown: _unknown,
}


def literal(text: str) -> str:
    """Return a regular expression for the text itself, valid in Python, ripgrep and grep alike."""
    return re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", text)


def definition_of(name: str) -> str:
    """Return a regular expression for the line that defines a name in the usual languages."""
    before = r"(export|default|pub|pub\([a-z]+\)|async|static|public|private|protected|abstract|final|override)"
    kinds = r"(class|def|func|function|fn|struct|enum|trait|interface|type|module|const|let|var|object|record)"
    escaped = literal(name)
    return rf"^\s*({before}\s+)*{kinds}\s+(\([^)]*\)\s*)?{escaped}\b|^\s*{escaped}\s*(:[^=]+)?=[^=]"


def _facts(names: list[str], got: tuple[Observation, ...]) -> dict[str, Facts]:
    pairs = zip(names, got, strict=False)
    return {name: read_manifest(name, file_text(seen.text)) for name, seen in pairs if seen.ok}
