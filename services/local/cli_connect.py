"""From what the person typed to the server and the task they mean. Knows no output."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from services.local.cli_errors import CliError, ExitCode, Unreachable
from services.local.cli_settings import Server, named_server, running_server
from services.local.client import Api
from services.local.home import Home

_SHORTEST_PREFIX = 4
_FULL_TASK = 36
_FULL_WORKSPACE = 23
_MOST_PAGES = 100


def find_server() -> Server | None:
    """Return the server MOORAGE_URL names, else the one of the home's running stack, else None."""
    return named_server() or running_server(Home.find())


def connect() -> Api:
    """Return the API of the server.

    Raises:
        Unreachable: no stack runs.
    """
    server = find_server()
    if server is None:
        raise Unreachable(f"No stack runs in {Home.find().path}; start one with `./moorage up --detach`.")
    return Api(server)


def tasks(api: Api, **filters: str) -> Iterator[dict[str, Any]]:
    """Yield the caller's tasks, newest first, page after page."""
    cursor = None
    for _ in range(_MOST_PAGES):
        given = filters if cursor is None else {**filters, "cursor": cursor}
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in given.items())
        page = api.get_json(f"/tasks?{query}" if query else "/tasks")
        yield from page["tasks"]
        cursor = page.get("next")
        if not cursor:
            return


def find_task(api: Api, text: str) -> str:
    """Return the id of the task that an id, or the beginning of one, means.

    Raises:
        CliError: none begins so, or more than one does.
    """
    wanted = text.strip().lower()
    if len(wanted) >= _FULL_TASK:
        return quote(wanted, safe="")
    return _only(wanted, [task["task_id"] for task in tasks(api, limit="200")], "task", "./moorage ps -a")


def find_workspace(api: Api, text: str) -> str:
    """Return the id of the workspace that an id, or the beginning of one, means; raises as `find_task` does."""
    wanted = text.strip().lower()
    if len(wanted) >= _FULL_WORKSPACE:
        return quote(wanted, safe="")
    if not wanted.startswith("ws-"):
        raise CliError(f"{text!r} is no workspace; `./moorage show TASK` names a task's.", ExitCode.USAGE)
    known = [container["id"] for container in api.get_json("/containers")["containers"]]
    return _only(wanted, known, "workspace", "./moorage show TASK")


def _only(prefix: str, known: list[str], kind: str, lister: str) -> str:
    if len(prefix.removeprefix("ws-")) < _SHORTEST_PREFIX:
        raise CliError(f"{prefix!r} is too short; give at least {_SHORTEST_PREFIX} characters.", ExitCode.USAGE)
    found = sorted({name for name in known if name.startswith(prefix)})
    if not found:
        raise CliError(f"No {kind} begins with {prefix!r}; `{lister}` lists them.", ExitCode.USAGE)
    if len(found) > 1:
        some = ", ".join(found[:3]) + (", …" if len(found) > 3 else "")
        raise CliError(f"{prefix!r} means more than one {kind}: {some}.", ExitCode.USAGE)
    return found[0]
