"""Commands on tasks that exist: ps, show, logs, diff, apply, cancel. Knows the API, and no service's inside."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from services.local import apply, cli_views
from services.local.cli_connect import find_task, find_workspace, tasks
from services.local.cli_errors import CliError, ExitCode, Refusal
from services.local.cli_terminal import Terminal, clean, one_line
from services.local.client import Api
from services.local.follow import Follower
from services.local.render import describe_event, parse_event, short
from services.wire.tasks import TaskResult, TaskStatus, TaskView

_OPEN = (TaskStatus.RUNNING, TaskStatus.WAITING, TaskStatus.QUEUED)
_RECENT = 30
_WIDE = 10_000
_TAIL_LINES = 200


def ps(api: Api, terminal: Terminal, *, everything: bool, as_json: bool) -> None:
    """Print the open tasks, with `everything` the newest ended ones too."""
    found = {
        task["task_id"]: task for status in _OPEN for task in tasks(api, status=status) if task["status"] == status
    }
    if everything:
        for task in islice(tasks(api), _RECENT):
            found.setdefault(task["task_id"], task)
    if as_json:
        terminal.out(json.dumps(list(found.values())))
        return
    views = sorted(map(TaskView.model_validate, found.values()), key=lambda view: view.created_at, reverse=True)
    if views:
        terminal.out("\n".join(cli_views.table(views, terminal)))
    elif everything:
        terminal.note('No tasks yet; begin with: ./moorage run "What does this do?" --repo URL')
    else:
        terminal.note("No task is running or queued; `./moorage ps -a` shows ended ones.")


def show(api: Api, terminal: Terminal, task: str, *, as_json: bool) -> None:
    """Print all that is known of a task."""
    task_id = find_task(api, task)
    raw = api.get_json(f"/tasks/{task_id}")
    if as_json:
        terminal.out(json.dumps(raw))
        return
    view = _view(api, task_id)
    terminal.out("\n".join(cli_views.details(TaskResult.model_validate(raw), view, terminal)))


def _view(api: Api, task_id: str) -> TaskView | None:
    """Return how lists show the task, if it is among the newest."""
    newest = api.get_json("/tasks")["tasks"]
    return next((TaskView.model_validate(task) for task in newest if task["task_id"] == task_id), None)


def logs(api: Api, terminal: Terminal, name: str, *, follow: bool) -> None:
    """Print the event log of a task, or what a container wrote."""
    if name.startswith("ws-"):
        _container_logs(api, terminal, find_workspace(api, name), follow=follow)
        return
    task_id = find_task(api, name)
    width = terminal.width if terminal.out_is_tty else _WIDE
    for raw in Follower(api, task_id).events() if follow else _stored(api, task_id):
        event = parse_event(raw)
        if event is None:
            terminal.out(one_line(json.dumps(raw), width))
        elif event.seq:
            terminal.out(describe_event(event, width))


def _stored(api: Api, task_id: str) -> Iterator[dict[str, Any]]:
    """Yield the events a task has so far, page after page."""
    after = 0
    while True:
        body = api.get(f"/tasks/{task_id}/events?after={after}")
        page = json.loads(body) if body else []
        events = page if isinstance(page, list) else page["events"]
        fresh = [event for event in events if event["seq"] > after]
        if not fresh:
            return
        yield from fresh
        after = fresh[-1]["seq"]


def _container_logs(api: Api, terminal: Terminal, workspace: str, *, follow: bool) -> None:
    body = api.get(f"/containers/{workspace}/logs?tail={_TAIL_LINES}", accept="text/plain")
    if terminal.out_is_tty:
        terminal.answer(body.decode("utf-8", "replace").rstrip("\n"))
    else:
        terminal.out_bytes(body)
    if follow:
        terminal.note("that is all the container wrote so far; this stack does not follow containers' logs")


def diff(api: Api, terminal: Terminal, task: str) -> None:
    """Print a task's patch: coloured on a terminal, byte for byte otherwise."""
    task_id = find_task(api, task)
    patch = _patch(api, task_id)
    if not patch:
        terminal.note("The task changed nothing.")
    elif terminal.out_is_tty:
        terminal.out(cli_views.coloured_diff(patch, terminal))
    else:
        terminal.out_bytes(patch)


def _patch(api: Api, task_id: str) -> bytes:
    return api.get(f"/tasks/{task_id}/diff", accept="text/x-diff")


def apply_task(api: Api, terminal: Terminal, task: str, repository: str) -> None:
    """Write a task's changes into a local repository."""
    root = apply.work_tree(Path(repository).expanduser())
    apply_to(api, find_task(api, task), root, terminal)


def apply_to(api: Api, task_id: str, root: Path, terminal: Terminal) -> None:
    """Write a task's changes into the work tree at `root`, and say which files they are."""
    patch = _patch(api, task_id)
    if not patch:
        terminal.note("The task changed nothing; there is nothing to apply.")
        return
    applied = apply.apply_patch(root, patch, name=f"moorage-{short(task_id)}")
    if not applied.files:
        terminal.note(clean(f"already applied: {root} has these changes"))
    else:
        how = "merged into" if applied.merged else "applied to"
        terminal.note(clean(f"{how} {root}:"))
    for file in applied.files:
        counts = "binary" if file.added is None else f"+{file.added} -{file.removed}"
        terminal.note(f"  {one_line(file.path, 300)}  {counts}")
    _tell_delivered(api, task_id, terminal)


def _tell_delivered(api: Api, task_id: str, terminal: Terminal) -> None:
    """Let the server know that the next task need not go on with these changes; an older one does not listen."""
    try:
        api.post_json(f"/tasks/{task_id}/delivered")
    except CliError as error:
        terminal.warn(f"the changes are applied, but the server could not be told so: {error}")


def cancel(api: Api, terminal: Terminal, task: str) -> ExitCode:
    """Ask for a task's end."""
    task_id = find_task(api, task)
    try:
        status = api.post_json(f"/tasks/{task_id}/cancel")["status"]
    except Refusal as error:
        if error.status != 409:
            raise
        raise CliError(str(error)) from error
    if status == TaskStatus.RUNNING:
        terminal.note(f"{short(task_id)} will stop within seconds; see `./moorage show {short(task_id)}`")
    else:
        terminal.note(f"{short(task_id)} is {status}")
    return ExitCode.DONE
