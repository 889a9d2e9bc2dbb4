"""What breaks under a running stack: the task ends clearly or goes on, nothing is lost, and the next request works."""

import asyncio
import json
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from starlette.responses import JSONResponse, Response, StreamingResponse

from services.local.processes import Process, marked
from tests.system.conftest import Stack, git, start
from tests.system.model_server import ModelServer, Step

T = TypeVar("T")


@dataclass(frozen=True)
class Fragile:
    """A stack whose parts are killed, the model that its tasks ask, and a repository to ask about."""

    stack: Stack
    model: ModelServer
    known: Path

    def child(self, name: str) -> Process:
        """A living process of the stack."""

        def living() -> Process | None:
            ledger = json.loads((self.stack.home / "stack.json").read_text())
            return Process.find({**ledger["children"], "supervisor": ledger["supervisor"]}[name]["pid"])

        return until(living)

    def agents(self) -> list[Process]:
        """The sandboxes of its agents."""
        mark = json.loads((self.stack.home / "mark.json").read_text())
        return [process for process in marked("MOORAGE_HOME_MARK", mark) if command(process).startswith("bwrap")]

    def begin(self, **body: Any) -> str:
        """Send a request and return its task's id at once."""
        with self.stack.client() as client:
            return str(client.post("/orchestrate", json={**body, "mode": "async"}).json()["task_id"])

    def events(self, task_id: str) -> list[dict[str, Any]]:
        """The stored events of a task."""
        with self.stack.client() as client:
            answer = client.get(f"/tasks/{task_id}/events", headers={"Accept": "application/json"})
            answer.raise_for_status()
            return list(answer.json()["events"])

    def ended(self, task_id: str) -> dict[str, Any]:
        """The result of a task once it has ended."""

        def final() -> dict[str, Any] | None:
            with self.stack.client() as client:
                answer = client.get(f"/tasks/{task_id}")
            result = answer.json()
            return result if answer.status_code == 200 and result["status"] not in ("queued", "running") else None

        return until(final)

    def works(self) -> None:
        """Check that the next request does."""
        self.model.script("It works.")
        assert self.stack.orchestrate(query="And now?", repo_url=str(self.known))["answer"] == "It works."


def until(look: Callable[[], T | None], limit_s: float = 30.0) -> T:
    """Return the first thing seen that is true."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        try:
            if found := look():
                return found
        except httpx.TransportError:
            pass  # the API itself is away
        time.sleep(0.03)
    pytest.fail(f"not seen in {limit_s} s")


def command(process: Process) -> str:
    """A process's command line."""
    try:
        return Path(f"/proc/{process.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def kinds(events: list[dict[str, Any]]) -> list[str]:
    """What happened, after a check that nothing is missing."""
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    return [event["kind"] for event in events]


def observations(events: list[dict[str, Any]]) -> list[str]:
    """What the model was told of its calls."""
    return [event["data"]["text"] for event in events if event["kind"] == "tool.result"]


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fragile]:
    home = tmp_path_factory.mktemp("fragile") / "home"
    known = tmp_path_factory.mktemp("known")
    git(known, "init", "-q")
    with ModelServer().serving() as model:
        stack = start(home, GPT_OSS_URL=model.url, ORCHESTRATOR_LEASE_S="2")
        environment = Path(f"/proc/{json.loads((home / 'stack.json').read_text())['children']['hub']['pid']}/environ")
        mark = environment.read_bytes().split(b"MOORAGE_HOME_MARK=")[1].split(b"\0")[0].decode()
        (home / "mark.json").write_text(json.dumps(mark))
        yield Fragile(stack, model, known)
        assert stack.cli("down").code == 0


# --- the model -------------------------------------------------------------------------------------------------------


def stream(*events: str) -> Callable[[], Response]:
    """A stream of server-sent events with this data."""
    body = "".join(f"data: {event}\n\n" for event in events)
    return lambda: Response(body, media_type="text/event-stream")


def endless(chunk: bytes) -> Callable[[], Response]:
    """An answer that never ends."""

    async def chunks() -> AsyncIterator[bytes]:
        while True:
            yield chunk
            await asyncio.sleep(0)  # or the server would never see that the reader has gone

    return lambda: StreamingResponse(chunks(), media_type="text/event-stream")


def choice(finish: str | None = None, **delta: Any) -> str:
    """A chunk of a completion."""
    return json.dumps({"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m",
                       "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})  # fmt: skip


BAD: list[tuple[str, Step, str, str]] = [
    ("500", lambda: JSONResponse({"error": {"message": "boom"}}, 500), "model_unreachable", "500: boom"),
    ("401", lambda: JSONResponse({"error": {"message": "no key"}}, 401), "model_unreachable", "LLM_API_KEY"),
    ("404", lambda: Response("<h1>x</h1>", 404, media_type="text/html"), "model_unreachable", "404"),
    ("redirect", lambda: Response("", 302, {"Location": "http://169.254.169.254/"}), "model_unreachable", "302"),
    ("html", lambda: Response("<html><p>Sign in</p></html>", media_type="text/html"), "model_nonsense", "/v1"),
    ("empty", lambda: Response(""), "model_nonsense", "/v1"),
    ("broken JSON", stream("{not json"), "model_nonsense", "/v1"),
    ("a number", stream("7"), "model_nonsense", "/v1"),
    ("a list", stream("[]", "[DONE]"), "model_nonsense", "/v1"),
    ("wrong types", stream('{"choices": 5}', "[DONE]"), "model_nonsense", "/v1"),
    ("null delta", stream('{"choices": [{"delta": null, "index": 0}]}', "[DONE]"), "model_nonsense", "/v1"),
    ("an error event", stream('{"error": {"message": "overloaded"}}'), "model_nonsense", "/v1"),
    ("only whitespace", stream(choice("stop", content="  \n"), "[DONE]"), "model_nonsense", "empty"),
    ("broken off", stream(choice(content="half an ans")), "model_nonsense", "broke off"),
    ("not UTF-8", lambda: Response(b"data: \xff\xfe\n\n", media_type="text/event-stream"), "model_nonsense", "/v1"),
    ("endless spaces", endless(b" " * 65536), "model_nonsense", "/v1"),
    ("endless comments", endless(b":" + b"x" * 60000 + b"\n\n"), "model_nonsense", "/v1"),
    ("endless text", endless(f"data: {choice(content=' ' * 60000)}\n\n".encode()), "model_nonsense", "/v1"),
]


@pytest.mark.parametrize(("step", "code", "word"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_bad_answer_of_the_model_fails_the_task_clearly(fragile: Fragile, step: Step, code: str, word: str) -> None:
    fragile.model.script(*[step] * 6)
    result = fragile.stack.orchestrate(502, query="q", repo_url=str(fragile.known), timeout_s=20)
    assert (result["status"], result["error"]["code"]) == ("failed", code), result
    assert word in result["error"]["message"]
    fragile.works()


def test_a_model_that_only_calls_unknown_tools_reaches_its_step_limit(fragile: Fragile) -> None:
    call: Step = [("nope", {})]
    fragile.model.script(call, call, call, "I could not.")
    result = fragile.stack.orchestrate(200, query="q", repo_url=str(fragile.known), max_steps=3)
    assert (result["status"], result["error"]["code"], result["answer"]) == ("failed", "step_limit", "I could not.")
    told = observations(fragile.events(result["task_id"]))
    assert len(told) == 3
    assert "shell__exec" in told[0]
    fragile.works()


def test_broken_tool_calls_are_told_to_the_model(fragile: Fragile) -> None:
    def call(name: str, arguments: str) -> Step:
        function = {"name": name, "arguments": arguments}
        made = [{"index": 0, "id": "c", "type": "function", "function": function}]
        return stream(choice("tool_calls", tool_calls=made), "[DONE]")

    broken = [
        '{"path": NaN}',
        '{"path": 1e999}',
        "[" * 100_000,
        '{"path": ',
        "[]",
        "7",
        '"x"',
        "\x00",
        "{}",
        '{"path": 7}',
        '{"path": "a\\u0000b"}',
        '{"path": "\\ud800"}',
    ]
    fragile.model.script(*(call("filesystem__read_file", text) for text in broken), call("", "{}"), "Done.")
    result = fragile.stack.orchestrate(query="q", repo_url=str(fragile.known))
    assert (result["status"], result["answer"]) == ("succeeded", "Done.")
    told = observations(fragile.events(result["task_id"]))
    assert len(told) == len(broken) + 1
    assert all(text.startswith("error: ") for text in told), told
    fragile.works()


# --- the parts -------------------------------------------------------------------------------------------------------


@pytest.mark.full
def test_without_postgres_the_api_says_so_until_it_is_back(fragile: Fragile) -> None:
    before = fragile.ended(fragile.begin(query="q", repo_url=str(fragile.known)))
    supervisor = fragile.child("supervisor")
    supervisor.signal(signal.SIGSTOP)  # or it would be back before anybody asks
    try:
        fragile.child("postgres").signal(signal.SIGKILL)
        with fragile.stack.client() as client:
            asked = client.post("/orchestrate", json={"query": "q"})
            ready = client.get("/ready")
            assert (ready.status_code, ready.json()["parts"]["database"]["state"]) == (503, "down")
    finally:
        supervisor.signal(signal.SIGCONT)
    assert (asked.status_code, asked.json()["error"]["code"]) == (503, "database_unavailable"), asked.text
    assert int(asked.headers["retry-after"]) > 0
    assert "again" in asked.json()["error"]["message"]
    with fragile.stack.client() as client:
        until(lambda: client.get("/ready").status_code == 200)
        assert client.get(f"/tasks/{before['task_id']}").json() == before
    fragile.works()


def test_a_task_outlives_postgres(fragile: Fragile, repository: Path) -> None:
    model = fragile.model
    model.script([("shell__exec", {"command": "echo line >> effects"})], "lost or kept", "Done.")
    task = fragile.begin(query="q", repo_url=str(repository))
    until(lambda: len(model.requests) >= 1 or None)
    model.hold = threading.Event()
    until(lambda: len(model.requests) == 2 or None)
    fragile.child("postgres").signal(signal.SIGKILL)
    model.hold.set()
    result = fragile.ended(task)
    assert result["status"] == "succeeded", result
    assert [(change["path"], change["added"]) for change in result["changes"]["files"]] == [("effects", 1)]
    assert kinds(fragile.events(task)).count("task.finished") == 1
    fragile.works()


def test_a_task_outlives_the_hub_and_its_sandbox_still_has_a_way_out(fragile: Fragile, repository: Path) -> None:
    ask = "import urllib.request as u\ntry: u.urlopen('http://not-allowed.example/')\nexcept Exception as e: print(e)"
    fragile.model.script(
        [("shell__exec", {"command": "touch began; sleep 30"})],
        [("shell__exec", {"command": f'python3 -c "{ask}"'})],
        [("filesystem__write_file", {"path": "after", "content": "x"})],
        "Done.",
    )
    task = fragile.begin(query="q", repo_url=str(repository))
    until(lambda: "tool.intent" in kinds(fragile.events(task)) or None)
    fragile.child("hub").signal(signal.SIGKILL)
    result = fragile.ended(task)
    assert result["status"] == "succeeded", result
    assert "after" in [change["path"] for change in result["changes"]["files"]]
    told = observations(fragile.events(task))
    assert "not known whether" in told[0]
    assert "403" in told[1]
    fragile.works()


def test_a_task_outlives_its_agent(fragile: Fragile, repository: Path) -> None:
    fragile.model.script(
        [("shell__exec", {"command": "echo kept > kept; sleep 30"})],
        [("shell__exec", {"command": "cat kept"})],
        "Done.",
    )
    task = fragile.begin(query="q", repo_url=str(repository))
    tree = fragile.stack.home / "workspaces"
    until(lambda: any(tree.glob("*/tree/kept")) or None)
    for agent in fragile.agents():
        agent.signal(signal.SIGKILL)
    result = fragile.ended(task)
    assert (result["status"], result["answer"]) == ("succeeded", "Done."), result
    events = fragile.events(task)
    first, second = observations(events)
    assert first.startswith("error: ")
    assert "kept" in second
    epochs = [event["data"]["epoch"] for event in events if event["kind"] == "container.ready"]
    assert epochs == [1, 2]
    assert [change["path"] for change in result["changes"]["files"]] == ["kept"]
    fragile.works()


@pytest.mark.full
def test_a_task_outlives_the_orchestrator_and_no_step_is_repeated(fragile: Fragile, repository: Path) -> None:
    model = fragile.model
    model.script(
        [("shell__exec", {"command": "echo one >> effects"})],
        "This answer reaches nobody.",
        [("shell__exec", {"command": "echo two >> effects; sleep 30"})],
        [("shell__exec", {"command": "echo three >> effects"})],
        "Done.",
    )
    tree = fragile.stack.home / "workspaces"
    task = fragile.begin(query="q", repo_url=str(repository))
    until(lambda: len(model.requests) >= 1 or None)
    model.hold = threading.Event()
    until(lambda: len(model.requests) == 2 or None)
    fragile.child("orchestrator").signal(signal.SIGKILL)
    model.hold.set()
    until(lambda: any("two" in path.read_text() for path in tree.glob("*/tree/effects")) or None)
    fragile.child("orchestrator").signal(signal.SIGKILL)
    result = fragile.ended(task)
    assert (result["status"], result["answer"]) == ("succeeded", "Done."), result
    events = fragile.events(task)
    happened = kinds(events)
    assert [happened.count(kind) for kind in ("task.started", "task.resumed", "task.finished")] == [1, 2, 1]
    assert happened.count("tool.intent") == happened.count("tool.result") == 3
    assert "interrupted" in observations(events)[1]
    assert [event["run_no"] for event in events] == sorted(event["run_no"] for event in events)
    assert len(model.requests) == 5
    with fragile.stack.client() as client:
        patch = client.get(f"/tasks/{task}/diff").text
    assert [line for line in patch.splitlines() if line.startswith("+") and "effects" not in line] == [
        "+one",
        "+two",
        "+three",
    ]
    fragile.works()


@pytest.mark.full
def test_a_waiting_caller_is_told_when_the_orchestrator_goes(fragile: Fragile) -> None:
    fragile.model.script("Done.")
    fragile.model.hold = threading.Event()
    answers: list[httpx.Response] = []

    def wait() -> None:
        with fragile.stack.client() as client:
            answers.append(client.post("/orchestrate", json={"query": "q", "repo_url": str(fragile.known)}))

    caller = threading.Thread(target=wait)
    caller.start()
    assert fragile.model.asked.wait(20)
    fragile.child("orchestrator").signal(signal.SIGTERM)
    caller.join(timeout=20)
    fragile.model.hold.set()
    assert (answers[0].status_code, answers[0].json()["error"]["code"]) == (503, "not_ready")
    assert answers[0].headers["retry-after"] == "2"
    with fragile.stack.client() as client:
        newest = until(lambda: client.get("/tasks", params={"limit": 1}).json().get("tasks"))[0]
    assert fragile.ended(newest["task_id"])["status"] == "succeeded"
    fragile.works()
