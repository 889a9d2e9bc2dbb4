"""The answers, one small function per intent. Every word comes from what was looked up. Knows no tool."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from services.gpt_oss.offline.intents import NeedsModel
from services.gpt_oss.offline.lookups import SEARCH_LIMIT
from services.gpt_oss.offline.manifests import Facts
from services.gpt_oss.offline.markdown import MAX_BLOCK, bullets, clip, code, fence, plural, quote, short, tail
from services.gpt_oss.offline.outline import Item, outline, outline_of_part
from services.gpt_oss.offline.pages import Text
from services.gpt_oss.offline.project import TestCommand
from services.gpt_oss.offline.readme import Readme, read_readme
from services.gpt_oss.offline.readme import section as readme_section
from services.gpt_oss.offline.results import Entry, Match, Observation, says_nothing, was_cut

MAX_ANSWER = 12_000
"""Longest answer in characters."""

REAL_MODEL = """\
To connect a model, stop the stack with `./moorage down`, then start it again in one of these three ways:

1. Ollama, on this machine: `ollama serve` and `ollama pull gpt-oss:20b`, then
   `GPT_OSS_URL=http://127.0.0.1:11434/v1 ./moorage up`
2. vLLM, on a machine with a GPU: `vllm serve openai/gpt-oss-20b`, then
   `GPT_OSS_URL=http://127.0.0.1:8000/v1 ./moorage up`
3. A hosted model, with your key: `LLM_API_KEY=… ./moorage up`"""

ABILITIES = """\
What I can do in this repository:

- "What does this project do?": purpose, layout, languages, build, recent commits
- "List files", "List files in src", "List all Python files"
- "Search for `text`", "Where is `name` defined?", "Find TODOs"
- "Show the last 5 commits", "What changed?", "Show the last commit", "git diff main"
- "Read path/to/file", "Classes and functions in path/to/file.py"
- "Run `command`", "Run the tests"
- "How do I install it?", "Which licence?", "Which dependencies?\""""


def sign(answer: str, *, earlier: int) -> str:
    """Return the finished answer: within its limit, and signed as what it is."""
    note = " It read only your last message, not the earlier ones." if earlier else ""
    signature = f"\n\n_Answered by Moorage's offline engine: fixed rules, no language model.{note}_"
    return clip(answer, MAX_ANSWER - len(signature)) + signature


def listing(path: str, found: Sequence[Entry]) -> str:
    """Show the names of one folder and nothing else."""
    if not found:
        return f"`{path}` is empty."
    return fence("\n".join(entry.shown for entry in found))


def files(path: str, found: Sequence[str], endings: Sequence[str]) -> str:
    """Show the files of a whole tree."""
    kind = f" ending in {' or '.join(f'`{ending}`' for ending in endings)}" if endings else ""
    place = "" if path == "." else f" in `{path}`"
    if not found:
        return f"There are no files{kind}{place}."
    return f"{plural(len(found), 'file')}{kind}{place}:\n\n{fence(chr(10).join(found))}"


def found(text: str, hits: Sequence[Match], raw: str) -> str:
    """Show search matches by file, the fullest file first."""
    if not hits:
        return fence(raw) if raw.strip() and not says_nothing(raw) else f"Nothing in the repository contains {text}."
    per_file = Counter(hit.path for hit in hits)
    more = " (the search stopped there; there may be more)" if was_cut(raw) or len(hits) >= SEARCH_LIMIT else ""
    head = f"{plural(len(hits), 'match', 'matches')} for {text} in {plural(len(per_file), 'file')}{more}:"
    return f"{head}\n\n{_grouped(hits, per_file)}"


def located(name: str, paths: Sequence[str]) -> str:
    """Show where files of a name are."""
    if not paths:
        return f"There is no file `{name}` in the repository."
    return f"`{name}` is here:\n\n" + bullets(f"`{path}`" for path in paths[:50])


def defined(name: str, first: Match, hits: Sequence[Match], snippet: str) -> str:
    """Show where a name is defined, with the first lines of the likeliest place."""
    lines = fence(_definition_only(snippet), _language(first.path)) if snippet else fence(first.text)
    others = [hit for hit in hits if hit != first]
    rest = "Also:\n\n" + bullets(f"`{hit.path}:{hit.line}`: {code(hit.text)}" for hit in others[:15]) if others else ""
    return "\n\n".join(
        part for part in (f"`{name}` is defined in `{first.path}`, line {first.line}:", lines, rest) if part
    )


def not_defined(name: str, hits: Sequence[Match], paths: Sequence[str]) -> str:
    """Say that no definition was found, and where the name occurs."""
    parts = [f"I found no line that defines `{name}`."]
    if paths:
        parts.append("Files with that name:\n\n" + bullets(f"`{path}`" for path in paths[:15]))
    if hits:
        per_file = Counter(hit.path for hit in hits)
        parts.append(f"It is mentioned in {plural(len(per_file), 'file')}:\n\n{_grouped(hits, per_file, files=8)}")
    return "\n\n".join(parts) if len(parts) > 1 else f"Nothing in the repository defines or mentions `{name}`."


def file(path: str, seen: Observation) -> str:
    """Show a file."""
    if not seen.text.strip():
        return f"`{path}` is empty."
    return f"`{path}`:\n\n{fence(seen.text, _language(path))}"


def unreadable(path: str, seen: Observation, similar: Sequence[str]) -> str:
    """Say why a file could not be read, and where files of that name are."""
    hint = "Files of that name:\n\n" + bullets(f"`{item}`" for item in similar[:10]) if similar else ""
    return "\n\n".join(part for part in (failed(f"read `{path}`", seen), hint) if part)


def outlined(path: str, text: str) -> str:
    """Show what a file that is no Python says about itself: a README's prose, or its beginning."""
    readme = read_readme(path, text) if path.lower().endswith((".md", ".rst", ".markdown")) else Readme("", (), ())
    if readme.prose:
        heads = "Sections:\n\n" + bullets(readme.headings[:30]) if readme.headings else ""
        return "\n\n".join(part for part in (f"**{readme.title or path}** (`{path}`)", *readme.prose, heads) if part)
    return (
        f"I can outline Python only. `{path}` begins:\n\n{fence(chr(10).join(text.splitlines()[:60]), _language(path))}"
    )


def python_outline(path: str, read: Text) -> str:
    """Show the classes and functions of a Python file, and up to which line when not all of it could be read."""
    known = outline(read.text) if read.whole else outline_of_part(read.lines)
    part = "" if read.whole else f", only up to line {len(read.lines):,}, as far as I could read"
    if known is None:
        begins = fence("\n".join(read.lines[:60]), "python")
        return f"`{path}`{part} does not parse as Python. It begins:\n\n{begins}"
    doc = quote(clip(known.doc, 1_200)) if known.doc else ""
    names = fence(_items(known.items), "python") if known.items else "It defines no class and no function."
    kinds = Counter("class" if item.signature.startswith("class") else "function" for item in known.items)
    classes = plural(kinds["class"], "class", "classes")
    head = f"`{path}`{part}: {classes}, {plural(kinds['function'], 'function or method', 'functions and methods')}"
    return "\n\n".join(said for said in (head, doc, names) if said)


def ran(command: str, seen: Observation) -> str:
    """Show a command's output and exit code."""
    ended = "ran out of time and was stopped" if seen.timed_out else "was run"
    if seen.exit_code is not None:
        ended = f"ended with exit code {seen.exit_code}"
    output = f":\n\n{fence(tail(seen.text, MAX_BLOCK))}" if seen.text.strip() else " and printed nothing."
    return f"{code(command, 300)} {ended}{output}"


def tested(chosen: TestCommand, seen: Observation) -> str:
    """Show how the tests were run, and how it ended."""
    verdict = "The tests passed." if seen.exit_code == 0 else "The tests did not pass."
    if seen.exit_code and re.search(r"No module named|command not found|not found\s*$", seen.text[-300:]):
        verdict = "The tests could not be started: something that runs them is not installed."
    return f"I ran the tests with `{chosen.command}` ({chosen.why}). {verdict}\n\n{ran(chosen.command, seen)}"


def no_tests(top: Sequence[Entry]) -> str:
    """Say that no test command is known."""
    names = ", ".join(f"`{entry.shown}`" for entry in top[:12])
    return (
        "I did not find out how this project runs its tests: no manifest I read names a command.\n"
        f"At the top level there is {names or 'nothing'}. Name the command, for example: Run `make check`."
    )


def section(topic: str, readme: str, text: str, licence: str, facts: Mapping[str, Facts]) -> str:
    """Show what the project itself says about a topic."""
    wanted = _TOPICS[topic]
    parts = [_from_manifests(topic, facts)]
    if licence:
        head = [line.strip() for line in licence.splitlines() if line.strip()][:3]
        parts.append("The licence file begins:\n\n" + fence("\n".join(head)))
    if text and (said := readme_section(readme, text, wanted)):
        parts.append(f"`{readme}` says:\n\n{quote(clip(said, 3_000))}")
    told = [part for part in parts if part]
    return (
        "\n\n".join(told)
        if told
        else f"Neither the README nor the manifests I can read say anything about it ({topic})."
    )


def needs_model(intent: NeedsModel, hits: Sequence[Match], path: str, text: str) -> str:
    """Say plainly that this takes a model, how to get one, and what was found that may help."""
    cannot = (
        "I cannot do this: writing or changing code takes a language model, and this is the offline engine, "
        "which has none. Nothing was changed. (A command as it stands I can run: write Run `command`.)"
        if intent.change
        else "I cannot answer this: it takes a language model, and this is the offline engine, "
        "which only looks things up."
    )
    parts = [cannot, REAL_MODEL]
    if hits:
        per_file = Counter(hit.path for hit in hits)
        words = ", ".join(f"`{word}`" for word in intent.keywords)
        count = f"the first {len(hits)} lines" if len(hits) >= SEARCH_LIMIT else plural(len(hits), "line")
        parts.append(f"What I could look up, {count} with {words}:\n\n{_grouped(hits, per_file, files=6, lines=3)}")
    if text and (known := outline(text)) is not None and known.items:
        parts.append(f"What is in `{path}`:\n\n{fence(_items(known.items[:40]), 'python')}")
    if not intent.change and len(parts) == 2:
        parts.append(ABILITIES)
    return "\n\n".join(parts)


def capabilities() -> str:
    """Say who is answering and what it can do."""
    return (
        "I am Moorage's offline engine. I look things up in your repository by fixed rules; there is no language model "
        f"behind me, so I cannot write or change code.\n\n{ABILITIES}\n\n"
        f"For everything else it takes a model. {REAL_MODEL}"
    )


def unknown() -> str:
    """Say that the request was not understood, and what would be."""
    return (
        "I did not understand this request. This is the offline engine: it answers a fixed set of English requests and "
        f"has no language model.\n\n{ABILITIES}\n\nFor everything else it takes a model. {REAL_MODEL}"
    )


def failed(what: str, seen: Observation) -> str:
    """Say what could not be done and why, in the tool's own words."""
    return f"I could not {what}: {clip(seen.text.strip() or 'the tool gave no reason', 1_500)}"


_TOPICS: Mapping[str, re.Pattern[str]] = {
    "licence": re.compile(r"licen[cs]e|copying", re.IGNORECASE),
    "dependencies": re.compile(r"requirements|dependenc", re.IGNORECASE),
    "install": re.compile(r"install|getting started|quick ?start|setup", re.IGNORECASE),
    "test": re.compile(r"\btest", re.IGNORECASE),
    "usage": re.compile(r"usage|quick ?start|getting started|example|how to use|running", re.IGNORECASE),
    "build": re.compile(r"build|compil|develop", re.IGNORECASE),
    "contribute": re.compile(r"contribut|develop", re.IGNORECASE),
}
"""Headings of README sections by topic."""

_FENCE_NAMES: Mapping[str, str] = {
    ".py": "python", ".js": "javascript", ".ts": "typescript", ".go": "go", ".rs": "rust", ".sh": "sh", ".json": "json",
    ".toml": "toml", ".yml": "yaml", ".yaml": "yaml", ".md": "markdown", ".java": "java", ".c": "c", ".rb": "ruby",
}  # fmt: skip


def _language(path: str) -> str:
    return _FENCE_NAMES.get(PurePosixPath(path).suffix.lower(), "")


def _grouped(hits: Sequence[Match], per_file: Counter[str], *, files: int = 20, lines: int = 8) -> str:
    """Show matches under their files, with each file's count."""
    shown = []
    for path, count in per_file.most_common(files):
        inside = [hit for hit in hits if hit.path == path]
        rows = [f"  - {hit.line}: {code(hit.text)}" for hit in inside[:lines]]
        more = [f"  - and {count - lines} more"] if count > lines else []
        shown.append("\n".join([f"- `{path}` ({count})", *rows, *more]))
    left = len(per_file) - files
    return "\n".join([*shown, f"- and {plural(left, 'more file', 'more files')}"] if left > 0 else shown)


def _definition_only(snippet: str) -> str:
    """Return the definition a snippet starts with: its lines up to the next one that is not deeper than the first."""
    lines = snippet.rstrip().split("\n")
    first = len(lines[0]) - len(lines[0].lstrip())
    for index, line in enumerate(lines[1:], 1):
        indented = len(line) - len(line.lstrip())
        if line.strip() and indented <= first and not re.match(r"\s*[)\]}>]", line):
            return "\n".join(lines[:index]).rstrip()
    return f"{snippet.rstrip()}\n…"


def _items(items: Sequence[Item]) -> str:
    return "\n".join(f"{'    ' * item.depth}{item.signature}  # line {item.line}{_said(item.doc)}" for item in items)


def _said(doc: str) -> str:
    return f": {short(doc, 90)}" if doc else ""


def _from_manifests(topic: str, facts: Mapping[str, Facts]) -> str:
    if topic == "dependencies":
        named = [(name, fact.dependencies) for name, fact in facts.items() if fact.dependencies]
        return "\n\n".join(
            f"`{name}` requires:\n\n" + bullets(code(item) for item in wanted[:40]) for name, wanted in named[:1]
        )
    if topic == "licence":
        stated = [(name, fact.licence) for name, fact in facts.items() if fact.licence]
        return bullets(f"{code(licence)} (by `{name}`)" for name, licence in stated)
    if topic in ("build", "test"):
        said = [(name, fact.build if topic == "build" else fact.test) for name, fact in facts.items()]
        return bullets(f"{code(command)} (by `{name}`)" for name, command in said if command)
    return ""
