"""Tasks as people read them on standard output: a table, all that is known of one, a patch. Knows no server."""

from datetime import UTC, datetime

from services.local.cli_terminal import Style, Terminal, clean, one_line
from services.local.render import describe_model, seconds, short
from services.wire.tasks import TaskResult, TaskStatus, TaskView

_COLOURS: dict[str, Style] = {"succeeded": "green", "failed": "red", "cancelled": "yellow"}
_LETTERS = {"added": "A", "modified": "M", "deleted": "D", "renamed": "R", "type_changed": "T"}
_DIFF_COLOURS: dict[str, Style] = {
    "+++": "bold",
    "---": "bold",
    "diff ": "bold",
    "index ": "bold",
    "rename ": "bold",
    "new file": "bold",
    "deleted file": "bold",
    "@@": "cyan",
    "+": "green",
    "-": "red",
}
"""By how a line begins; the first that fits."""


def age(since: datetime) -> str:
    """Return how long ago a moment was, in its largest unit."""
    past = max(0, round((datetime.now(UTC) - since).total_seconds()))
    return f"{past} s" if past < 10 else seconds(past)


def summary(result: TaskResult) -> str:
    """Return how a task ended, in one line without its answer."""
    usage = result.usage
    parts = [
        f"{result.status} in {seconds(usage.seconds)}",
        f"{usage.steps} step{'s' * (usage.steps != 1)}",
        f"{usage.input_tokens + usage.output_tokens:,} tokens",
    ]
    if result.changes.files:
        count = len(result.changes.files)
        parts.append(f"{count} file{'s' * (count != 1)} changed (./moorage diff {short(result.task_id)})")
    return " · ".join(parts)


def changed_files(result: TaskResult) -> list[str]:
    """Return one line per changed file: its letter, path, and lines added and removed."""
    return [
        one_line(f"{_LETTERS[file.status]} {file.path}", 300)
        + ("  binary" if file.binary else f"  +{file.added} -{file.removed}")
        for file in result.changes.files
    ]


def details(result: TaskResult, view: TaskView | None, terminal: Terminal) -> list[str]:
    """Return everything known of a task, one fact a line, its answer last."""
    rows = [
        ("task", result.task_id),
        ("status", styled_status(result.status, terminal)),
        ("workspace", result.workspace_id),
    ]
    if view is not None:
        rows.append(("repository", one_line(view.repo_url or "none", 300)))
        rows.append(("query", one_line(view.query, max(40, terminal.width - 12))))
        rows.append(("accepted", f"{age(view.created_at)} ago"))
    if result.model is not None:
        rows.append(("model", one_line(describe_model(result.model).removeprefix("model: "), 400)))
    if result.changes.base is not None:
        base = result.changes.base
        rows.append(("started from", f"{base.commit[:10]} ({base.origin}, {base.behind} behind upstream)"))
    usage, start = result.usage, result.start_ms
    tokens = f"{usage.input_tokens:,} in, {usage.output_tokens:,} out, {usage.reasoning_tokens:,} of it reasoning"
    rows.append(("used", f"{usage.steps} steps, {seconds(usage.seconds)}, {tokens}"))
    rows.append(("ready after", f"{start.ready} ms (container {start.container}, workspace {start.workspace})"))
    rows += [("changed", line) for line in changed_files(result)]
    rows += [("not found", one_line(path, 300)) for path in result.files_missing]
    if result.error is not None:
        rows.append(("error", one_line(f"{result.error.message} ({result.error.code})", 2000)))
    lines = [f"{terminal.style(f'{name:<14}', 'dim', on='out')}{text}" for name, text in rows]
    return [*lines, "", clean(result.answer)] if result.answer else lines


def styled_status(status: TaskStatus, terminal: Terminal) -> str:
    """Return a status in its colour on standard output."""
    colour = _COLOURS.get(status, "cyan")
    return terminal.style(status, colour, on="out")


def table(tasks: list[TaskView], terminal: Terminal) -> list[str]:
    """Return tasks as a table, the query cut to what fits."""
    rows = [(short(task.task_id), age(task.created_at), task.status, _repository(task), task.query) for task in tasks]
    place = max([len("REPOSITORY"), *(len(row[3]) for row in rows)])
    room = max(20, terminal.width - place - 33) if terminal.out_is_tty else 100
    lines = [terminal.style(f"{'TASK':<10}{'AGE':<8}{'STATUS':<11}{'REPOSITORY':<{place}}  QUERY", "dim", on="out")]
    for task_id, old, status, repository, query in rows:
        pad = " " * (11 - len(status))
        lines.append(
            f"{task_id:<10}{old:<8}{styled_status(status, terminal)}{pad}{repository:<{place}}  {one_line(query, room)}"
        )
    return lines


def _repository(task: TaskView) -> str:
    """Return the last two parts of a repository's address, or of a path the last."""
    if not task.repo_url:
        return "-"
    parts = task.repo_url.rstrip("/").removesuffix(".git").replace(":", "/").split("/")
    local = task.repo_url.startswith(("/", "file:"))
    return one_line("/".join(parts[-1:] if local else parts[-2:]), 40)


def coloured_diff(patch: bytes, terminal: Terminal) -> str:
    """Return a patch for a terminal: coloured, and without the control characters a file may hold."""
    lines = []
    for line in clean(patch.decode("utf-8", "replace")).rstrip("\n").split("\n"):
        style = next((style for start, style in _DIFF_COLOURS.items() if line.startswith(start)), None)
        lines.append(terminal.style(line, style, on="out") if style else line)
    return "\n".join(lines)
