"""Commands on the stack of this machine: up, down, doctor; and the door for MCP clients. Knows no task."""

import dataclasses
import json
from collections.abc import Callable

from services.local import doctor as checks
from services.local import stack
from services.local.cli_connect import find_workspace
from services.local.cli_errors import CliError, ExitCode, Unreachable
from services.local.cli_settings import Server
from services.local.cli_terminal import Style, Terminal, one_line
from services.local.client import Api
from services.local.errors import LocalError
from services.local.home import Home, environment
from services.local.model_settings import advice, ignored
from services.local.render import model_line, seconds
from services.wire.health import Health

_HEALTH_LIMIT_S = 5.0
_COLOURS: dict[str, Style] = {"ok": "green", "degraded": "yellow", "warn": "yellow", "down": "red", "fail": "red"}


def ensure_server(home: Home, progress: Callable[[str], None]) -> Server:
    """Return the server of a home's stack, started in the background when it is not up.

    Raises:
        Unreachable: it does not start.
    """
    try:
        running = stack.ensure_up(home, progress=progress)
    except LocalError as error:
        raise Unreachable(str(error)) from error
    return Server(running.address, running.token, home)


def up(terminal: Terminal, *, detach: bool, runtime: str | None, port: int | None) -> ExitCode:
    """Start the stack: in the background, or here until Ctrl-C."""
    home = Home.find()
    try:
        if detach:
            with terminal.spinner() as spinner:
                running = stack.up(home, port=port, runtime=runtime, progress=spinner.say)
            if not running.started:
                terminal.note("the stack is up already")
                if names := ignored(home, environment()):
                    terminal.warn(advice(names))
            terminal.out(running.address)
            return ExitCode.DONE
        return _foreground(terminal, home, runtime=runtime, port=port)
    except LocalError as error:
        raise Unreachable(str(error)) from error


def _foreground(terminal: Terminal, home: Home, *, runtime: str | None, port: int | None) -> ExitCode:
    ready = False

    def progress(line: str) -> None:
        nonlocal ready
        if line.startswith("ready at "):
            ready = True
            address = line.removeprefix("ready at ")
            for shown in status_lines(Server(address, home.token, home), terminal):
                terminal.note(shown)
            terminal.out(address)
            terminal.note("Ctrl-C stops the stack")
        else:
            terminal.note(terminal.style(f"  {one_line(line, 300)}", "dim"))

    running = stack.up(home, port=port, runtime=runtime, detach=False, progress=progress)
    if not running.started:
        raise CliError(f"The stack is up already at {running.address}; `./moorage down` stops it.")
    if ready:
        terminal.note("the stack has stopped")
    return ExitCode.DONE


def status_lines(server: Server, terminal: Terminal) -> list[str]:
    """Return a line per part of a stack, its token's place, and which model answers."""
    try:
        body = Api(server, timeout_s=_HEALTH_LIMIT_S).get_json("/health")
        health = Health.model_validate(body)
    except (CliError, ValueError) as error:
        return [terminal.style(f"warning: /health does not answer as it should ({error})", "yellow")]
    lines = []
    for name, part in sorted(health.parts.items()):
        state = terminal.style(f"{part.state:<9}", _COLOURS[part.state])
        lines.append(f"{name:<12}{state}{one_line(part.detail, max(40, terminal.width - 22))}")
    if server.home is not None:
        lines.append(f"{'token':<12}{server.home.path / 'token'}")
    if (model := model_line(health)) is not None:
        lines.append(model)
    return lines


def down(terminal: Terminal) -> ExitCode:
    """End the home's stack and say what that was."""
    home = Home.find()
    before = stack.status(home)
    with terminal.spinner() as spinner:
        spinner.say("stopping the stack")
        stopped = stack.down(home)
    if stopped:
        names = ", ".join(process.name for process in before.processes if process.alive)
        terminal.note(f"stopped the stack in {home.path} ({names})")
    else:
        terminal.note(f"nothing ran in {home.path}")
    return ExitCode.DONE


def doctor(terminal: Terminal, *, as_json: bool) -> ExitCode:
    """Print what this machine has and lacks; fails when something stops Moorage from working."""
    with terminal.spinner() as spinner:
        spinner.say("looking at this machine")
        found = checks.examine(Home.find())
    failed = any(check.state is checks.CheckState.FAIL for check in found)
    if as_json:
        terminal.out(json.dumps([dataclasses.asdict(check) for check in found]))
        return ExitCode.FAILED if failed else ExitCode.DONE
    for check in found:
        state = terminal.style(f"{check.state:<6}", _COLOURS[check.state], on="out")
        terminal.out(f"{state}{check.name:<16} {one_line(check.detail, 400)}")
        if check.remedy and check.state is not checks.CheckState.OK:
            terminal.out(f"{'':<23}try: {one_line(check.remedy, 400)}")
    return ExitCode.FAILED if failed else ExitCode.DONE


def mcp(api: Api, terminal: Terminal, workspace: str) -> ExitCode:
    """Print a workspace's MCP endpoint, a grant for it, and the lines an MCP client's settings take."""
    workspace_id = find_workspace(api, workspace)
    grant = api.post_json(f"/workspaces/{workspace_id}/grant")
    url, token = str(grant["url"]), str(grant["token"])
    authorization = f"Bearer {token}"
    server = {"type": "http", "url": url, "headers": {"Authorization": authorization}}
    terminal.out(f"URL: {url}\nAuthorization: {authorization}\n")
    terminal.out(json.dumps({"mcpServers": {f"moorage-{workspace_id[3:11]}": server}}, indent=2))
    terminal.note(f"the grant is good for {seconds(float(grant['expires_s']))}; run this again for another")
    return ExitCode.DONE
