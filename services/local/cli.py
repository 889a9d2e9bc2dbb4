"""The command line: what can be typed, and its help. What a command does is in `cli_run`, `cli_tasks`, `cli_stack`.

Those are imported when a command needs them, so that `--help` and a run on a warm stack are quick.
"""

# ruff: noqa: PLC0415 - see above

from pathlib import Path
from typing import Annotated, Literal

import typer

from services.local.cli_errors import ExitCode
from services.local.cli_terminal import Terminal

app = typer.Typer(
    name="moorage",
    help="Give a repository and a request; get an answer or a patch from an isolated agent that stays warm.",
    epilog="./moorage test runs the project's own tests. Exit codes: 0 done, 1 task failed, 2 usage, 4 needs input, "
    "69 unreachable, 77 not allowed, 124 timeout, 130 cancelled.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _examples(*lines: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  ./moorage {line}" for line in lines)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        Terminal().out(f"moorage {version('moorage')}")
        raise typer.Exit


@app.callback()
def main_options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options before a command."""


Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Task = Annotated[str, typer.Argument(metavar="TASK", help="A task's id, or at least its first 4 characters.")]


@app.command(
    epilog=_examples(
        'run "What does this project do?" --repo https://github.com/owner/name',
        'run "Fix the failing test" --repo . --apply',
        "run - --repo ~/src/project --json < request.txt",
    )
)
def run(
    query: Annotated[str, typer.Argument(metavar="QUERY|-", help="What to do; - reads it from standard input.")],
    *,
    repo: Annotated[str | None, typer.Option("--repo", "-r", help="Repository: a URL or a local path.")] = None,
    ref: Annotated[str | None, typer.Option(help="Branch, tag or commit to start from.")] = None,
    files: Annotated[
        list[str] | None, typer.Option("--files", "-f", metavar="F", help="Path to put before the model; repeatable.")
    ] = None,
    deliver: Annotated[
        Literal["answer", "patch"] | None, typer.Option(help="What is wanted: an answer only, or changes too.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model to ask for, by its name at the endpoint.")] = None,
    max_steps: Annotated[int | None, typer.Option(min=1, max=200, help="Most model turns.")] = None,
    timeout: Annotated[int | None, typer.Option(min=1, max=86_400, metavar="SECONDS", help="Longest run.")] = None,
    start: Annotated[
        Literal["workspace", "fresh"] | None,
        typer.Option(help="Go on with undelivered changes of an earlier task, or set them aside."),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Print the task's id and leave.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one event per line, and the result last.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the answer, warnings and errors only.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Write the changes into the local repository.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write result.json, answer.md, changes.patch and events.jsonl there."),
    ] = None,
) -> None:
    """Run a request and print its answer.

    The stack is started in the background when none answers, and stays warm. The answer goes to standard output,
    progress to standard error. Ctrl-C cancels the task.
    """
    from services.local import cli_run

    _refuse_contradictions(detach=detach, result_wanted=bool(apply or out), apply=apply, deliver=deliver)
    given = {
        "query": cli_run.read_query(query),
        "repo_url": cli_run.read_repository(repo),
        "ref": ref,
        "files": files or None,
        "deliver": deliver,
        "model": model,
        "max_steps": max_steps,
        "timeout_s": timeout,
        "start": start,
    }
    request = {name: value for name, value in given.items() if value is not None}
    wanted = cli_run.Wanted(request, detach=detach, json_lines=as_json, quiet=quiet, apply=apply, out=out)
    _leave(cli_run.Run(wanted, Terminal())())


def _refuse_contradictions(*, detach: bool, result_wanted: bool, apply: bool, deliver: str | None) -> None:
    if detach and result_wanted:
        raise typer.BadParameter(
            "a detached run has no result yet; use `./moorage apply TASK` later", param_hint="--detach"
        )
    if apply and deliver == "answer":
        raise typer.BadParameter("--deliver answer brings no changes to apply", param_hint="--apply")


@app.command(epilog=_examples("ps", "ps -a", "ps -a --json | jq -r '.[].task_id'"))
def ps(
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Also show the newest tasks that have ended.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List running and queued tasks."""
    from services.local import cli_connect, cli_tasks

    cli_tasks.ps(cli_connect.connect(), Terminal(), everything=everything, as_json=as_json)


@app.command(epilog=_examples("show 3f2a91bc", "show 3f2a91bc --json"))
def show(task: Task, as_json: Json = False) -> None:
    """Show all that is known of a task, with its answer."""
    from services.local import cli_connect, cli_tasks

    cli_tasks.show(cli_connect.connect(), Terminal(), task, as_json=as_json)


@app.command(epilog=_examples("logs 3f2a91bc", "logs -f 3f2a91bc", "logs ws-0123456789abcdef0123"))
def logs(
    name: Annotated[
        str, typer.Argument(metavar="TASK|CONTAINER", help="A task's id, or a container's, which begins with ws-.")
    ],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as things happen.")] = False,
) -> None:
    """Print the log of a task or container."""
    from services.local import cli_connect, cli_tasks

    cli_tasks.logs(cli_connect.connect(), Terminal(), name, follow=follow)


@app.command(epilog=_examples("diff 3f2a91bc", "diff 3f2a91bc | git apply --3way"))
def diff(task: Task) -> None:
    """Print a task's changes as a patch.

    Piped, it is byte for byte what `git apply` takes.
    """
    from services.local import cli_connect, cli_tasks

    cli_tasks.diff(cli_connect.connect(), Terminal(), task)


@app.command("apply", epilog=_examples("apply 3f2a91bc", "apply 3f2a91bc --repo ~/src/project"))
def apply_command(
    task: Task,
    repo: Annotated[str, typer.Option("--repo", "-r", metavar="PATH", help="Local repository; default: here.")] = ".",
) -> None:
    """Write a task's changes into a repository.

    All of them, merged where files have moved on; or nothing, when they do not fit.
    """
    from services.local import cli_connect, cli_tasks

    cli_tasks.apply_task(cli_connect.connect(), Terminal(), task, repo)


@app.command(epilog=_examples("cancel 3f2a91bc"))
def cancel(task: Task) -> None:
    """End a running or queued task."""
    from services.local import cli_connect, cli_tasks

    _leave(cli_tasks.cancel(cli_connect.connect(), Terminal(), task))


@app.command(epilog=_examples("up", "up --detach", "up -d --port 8181"))
def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when it is ready, and leave it running.")
    ] = False,
    runtime: Annotated[Literal["process"] | None, typer.Option(help="Where agents run.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port of the API; default MOORAGE_PORT or 8080, 0 any free.")
    ] = None,
) -> None:
    """Start the stack here until Ctrl-C, or in the background."""
    from services.local import cli_stack

    _leave(cli_stack.up(Terminal(), detach=detach, runtime=runtime, port=port))


@app.command(epilog=_examples("down", "MOORAGE_HOME=/tmp/other ./moorage down").replace("./moorage MOO", "MOO"))
def down() -> None:
    """Stop the stack and all it started.

    Nothing it keeps is lost.
    """
    from services.local import cli_stack

    _leave(cli_stack.down(Terminal()))


@app.command(epilog=_examples("doctor", "doctor --json"))
def doctor(as_json: Json = False) -> None:
    """Check this machine, and say what helps."""
    from services.local import cli_stack

    _leave(cli_stack.doctor(Terminal(), as_json=as_json))


@app.command(epilog=_examples("mcp ws-0123456789abcdef0123"))
def mcp(
    workspace: Annotated[str, typer.Argument(metavar="WORKSPACE", help="A workspace's id; `show TASK` names it.")],
) -> None:
    """Print a workspace's endpoint for MCP clients.

    With a grant that opens it, and the lines that go into a client's settings.
    """
    from services.local import cli_connect, cli_stack

    _leave(cli_stack.mcp(cli_connect.connect(), Terminal(), workspace))


def _leave(code: ExitCode) -> None:
    raise typer.Exit(code)
