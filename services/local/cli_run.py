"""`moorage run`: one task from the request to its answer on this terminal. Knows the API, and no service's inside."""

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING, Any

from services.local.cli_connect import find_server
from services.local.cli_errors import CliError, ExitCode, Refusal, Refused, Unreachable, exit_code_of
from services.local.cli_terminal import Terminal, one_line
from services.local.client import Api
from services.local.follow import Follower
from services.local.home import Home, environment
from services.local.model_settings import advice, ignored

if TYPE_CHECKING:
    from services.local.render import Progress
    from services.wire.tasks import TaskResult

_CANCEL_LIMIT_S = 15.0
_HEALTH_LIMIT_S = 5.0
_RESULT_DELAYS_S = (0.2, 0.5, 1.0, 2.0, 4.0)
_LONG_QUERY = 1_000_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the person asked for: the request as it is sent, and what happens with the result here."""

    request: dict[str, Any]
    detach: bool = False
    json_lines: bool = False
    quiet: bool = False
    apply: bool = False
    out: Path | None = None


def read_query(text: str) -> str:
    """Return the query, from standard input for `-`.

    Raises:
        CliError: there is nothing in it, or too much.
    """
    if text == "-":
        text = sys.stdin.buffer.read(_LONG_QUERY * 4 + 1).decode("utf-8", "replace")
    # An argument that is not UTF-8 comes with surrogates, which no server takes.
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if not text.strip():
        raise CliError('The query is empty; say what to do, as in: ./moorage run "What does this do?"', ExitCode.USAGE)
    if len(text) > _LONG_QUERY:
        raise CliError(f"The query is longer than {_LONG_QUERY:,} characters; put it in a file.", ExitCode.USAGE)
    return text


def read_repository(text: str | None) -> str | None:
    """Return what `--repo` means: a path made absolute, anything else as it is.

    Raises:
        CliError: it can only be a path, and nothing is there.
    """
    if text is None or "://" in text:
        return text
    try:
        path = Path(text).expanduser()
        exists = path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise CliError(f"--repo {text!r} is no path ({error}).", ExitCode.USAGE) from error
    if exists:
        return str(path.resolve())
    # What has a colon may be git's short form of an address, host:path.
    if text.startswith((".", "~", "/")) or ":" not in text:
        raise CliError(f"--repo: there is nothing at {path.absolute()}.", ExitCode.USAGE)
    return text


def inside_a_work_tree(place: Path) -> bool:
    """Whether a directory is in a git work tree, by its looks."""
    return any((folder / ".git").exists() for folder in (place, *place.parents))


class Run:
    """One run of the command."""

    def __init__(self, wanted: Wanted, terminal: Terminal) -> None:
        self._wanted = wanted
        self._terminal = terminal
        self._waiting: Callable[[str], None] = lambda _: None
        self._later: list[str] = []
        self._approval = False
        self._interrupted = False

    def __call__(self) -> ExitCode:
        """Do it, and return what to leave with."""
        target = self._target()
        with self._events_file() as events, self._terminal.spinner() as spinner:
            self._waiting = spinner.say
            api, accepted = self._submit()
            if api.server.home is not None and (names := ignored(api.server.home, environment())):
                self._terminal.warn(advice(names))
            task_id = accepted["task_id"]
            if self._wanted.detach:
                return self._detached(accepted)
            result, raw = self._see_through(api, task_id, events)
            spinner.say("")
            code = self._report(api, result, raw)
        if self._wanted.apply and code is ExitCode.DONE:
            self._apply(api, result, target)
        return code

    def _target(self) -> Path | None:
        """Return the work tree that `--apply` will write to, before anything is started."""
        if not self._wanted.apply:
            return None
        from services.local.apply import target_of  # noqa: PLC0415 - quick start

        return target_of(self._wanted.request.get("repo_url"), Path.cwd())

    @contextmanager
    def _events_file(self) -> Iterator[IO[str] | None]:
        if self._wanted.out is None:
            yield None
            return
        try:
            self._wanted.out.mkdir(parents=True, exist_ok=True)
            file = (self._wanted.out / "events.jsonl").open("w", encoding="utf-8")
        except OSError as error:
            raise CliError(f"--out: {error.filename} cannot be written ({error.strerror}).", ExitCode.USAGE) from error
        with file:
            yield file

    def _submit(self) -> tuple[Api, dict[str, Any]]:
        """Send the request, starting the stack first when none answers."""
        server = find_server()
        if server is not None:
            try:
                return self._post(Api(server))
            except (Refused, Refusal) as error:
                starting = isinstance(error, Refused) or error.code == "not_ready"
                if server.home is None or not starting:
                    raise
        return self._post(self._start_stack())

    def _post(self, api: Api) -> tuple[Api, dict[str, Any]]:
        with _interrupt_later() as interrupted:
            accepted = api.post_json("/orchestrate", {**self._wanted.request, "mode": "async"})
        self._interrupted = interrupted()
        return api, accepted

    def _start_stack(self) -> Api:
        from services.local.cli_stack import ensure_server  # noqa: PLC0415 - only when none runs

        began = time.monotonic()
        home = Home.find()
        self._waiting(f"starting the stack in {home.path}")
        server = ensure_server(home, lambda step: self._waiting(f"starting the stack: {step}"))
        took = time.monotonic() - began
        self._later.append(f"  started the stack in {took:.1f} s; it stays warm until `./moorage down`")
        return Api(server)

    def _detached(self, accepted: dict[str, Any]) -> ExitCode:
        self._terminal.answer(json.dumps(accepted) if self._wanted.json_lines else accepted["task_id"])
        if not (self._wanted.json_lines or self._wanted.quiet):
            self._terminal.note(f"accepted; follow it with: ./moorage logs -f {accepted['task_id'][:8]}")
        return ExitCode.DONE

    def _see_through(self, api: Api, task_id: str, events: IO[str] | None) -> tuple["TaskResult", dict[str, Any]]:
        """Show the task's events until it ends, or until Ctrl-C has ended it, and return its result."""
        from services.local.render import Progress  # noqa: PLC0415 - imported while the server works

        if not self._wanted.request.get("repo_url") and inside_a_work_tree(Path.cwd()):
            self._later.append("  hint: no repository was named; to work on the one around you add --repo .")
        silent = self._wanted.quiet or self._wanted.json_lines
        local = self._wanted.request.get("repo_url", "").startswith("/")
        progress = Progress(self._terminal, quiet=silent, waiting=self._waiting, after_model=self._later, local=local)
        follower = Follower(api, task_id)
        try:
            if self._interrupted:
                raise KeyboardInterrupt
            self._watch(follower, progress, events)
        except KeyboardInterrupt:
            self._cancel(api, task_id, follower, progress, events)
        result, raw = _result(api, task_id)
        if result.status.value == "failed" and not progress.model_known and not silent:
            _say_model(api, progress)
        return result, raw

    def _watch(
        self, follower: Follower, progress: "Progress", events: IO[str] | None, limit_s: float | None = None
    ) -> None:
        from services.local.render import parse_event  # noqa: PLC0415 - imported while the server works

        for raw in follower.events(limit_s):
            if self._wanted.json_lines:
                self._terminal.out(json.dumps(raw))
            if events is not None and raw.get("seq"):
                events.write(json.dumps(raw) + "\n")
            if (event := parse_event(raw)) is not None:
                progress.show(event)
            if raw["kind"] == "approval.requested":
                self._approval = True
                return

    def _cancel(self, api: Api, task_id: str, follower: Follower, progress: "Progress", events: IO[str] | None) -> None:
        self._terminal.note(f"cancelling {task_id[:8]} (Ctrl-C again leaves it to itself)")
        try:
            api.post_json(f"/tasks/{task_id}/cancel")
            self._watch(follower, progress, events, limit_s=_CANCEL_LIMIT_S)
        except KeyboardInterrupt:
            raise CliError(f"Left; the task may go on: ./moorage show {task_id[:8]}", ExitCode.CANCELLED) from None
        except Unreachable as error:
            raise CliError(f"The task could not be cancelled: {error}", ExitCode.CANCELLED) from error
        except Refusal as error:
            # It had ended by itself a moment ago: its result says how.
            if error.status not in (404, 409):
                raise

    def _report(self, api: Api, result: "TaskResult", raw: dict[str, Any]) -> ExitCode:
        """Print the result, write it out, and return what it means."""
        from services.local.cli_views import summary  # noqa: PLC0415 - imported while the server works

        code = self._code(result)
        if self._wanted.out is not None:
            _write_out(api, result, raw, self._wanted.out)
        if self._wanted.json_lines:
            self._terminal.out(json.dumps(raw))
        elif result.answer:
            self._terminal.answer(result.answer)
        if result.error is not None and code is not ExitCode.DONE:
            said = one_line(f"{result.status}: {result.error.message}", 2000)
            self._terminal.note(self._terminal.style(said, "red"))
        elif code is ExitCode.NEEDS_INPUT:
            self._terminal.note(f"the task waits for an approval: ./moorage show {result.task_id[:8]}")
        if not (self._wanted.quiet or self._wanted.json_lines):
            self._terminal.note(self._terminal.style(summary(result), "dim"))
        return code

    def _code(self, result: "TaskResult") -> ExitCode:
        if result.status.value == "waiting" or (self._approval and not result.status.final):
            return ExitCode.NEEDS_INPUT
        if result.status.value == "failed" and result.error is not None:
            return exit_code_of(result.error.code)
        return {"succeeded": ExitCode.DONE, "failed": ExitCode.FAILED}.get(result.status.value, ExitCode.CANCELLED)

    def _apply(self, api: Api, result: "TaskResult", target: Path | None) -> None:
        from services.local.cli_tasks import apply_to  # noqa: PLC0415 - quick start

        assert target is not None
        if not result.changes.files:
            self._terminal.note("the task changed no file; there is nothing to apply")
            return
        apply_to(api, result.task_id, target, self._terminal)


def _say_model(api: Api, progress: "Progress") -> None:
    """Print what the server says of its model, for a task that failed before it had one."""
    from services.local.render import model_line  # noqa: PLC0415 - imported while the server works
    from services.wire.health import Health  # noqa: PLC0415

    with suppress(CliError, ValueError):
        body = Api(api.server, timeout_s=_HEALTH_LIMIT_S).get_json("/health")
        if (line := model_line(Health.model_validate(body))) is not None:
            progress.say_model(line)


def _result(api: Api, task_id: str) -> tuple["TaskResult", dict[str, Any]]:
    """Return a task's result, typed and as it came; a server that is just starting again is waited for."""
    from services.wire.tasks import TaskResult  # noqa: PLC0415 - imported while the server works

    for delay in (*_RESULT_DELAYS_S, None):
        try:
            raw = api.get_json(f"/tasks/{task_id}")
            return TaskResult.model_validate(raw), raw
        except Unreachable:
            if delay is None:
                raise
            time.sleep(delay)
        except ValueError as error:
            raise CliError(f"{api.server.url} is of another version; update the older one.") from error
    raise AssertionError("the last delay raises")


def _write_out(api: Api, result: "TaskResult", raw: dict[str, Any], folder: Path) -> None:
    patch = api.get(f"/tasks/{result.task_id}/diff", accept="text/x-diff") if result.changes.files else b""
    try:
        (folder / "result.json").write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")
        (folder / "answer.md").write_text(result.answer + "\n", encoding="utf-8", errors="replace")
        (folder / "changes.patch").write_bytes(patch)
    except OSError as error:
        raise CliError(f"--out: {error.filename} cannot be written ({error.strerror}).") from error


@contextmanager
def _interrupt_later() -> Iterator[Callable[[], bool]]:
    """Keep Ctrl-C from falling between a task's acceptance and our knowing its id; a second one is heard at once."""
    seen = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        if seen:
            signal.default_int_handler(number, frame)
        seen = True

    previous = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: seen
    finally:
        signal.signal(signal.SIGINT, previous)
