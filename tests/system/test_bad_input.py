"""What people and programs get wrong: each gets an error that says what to do next, and the next request works."""

import base64
import http.server
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql

from services.local.home import Home
from services.local.postgres import EmbeddedPostgres
from tests.system.conftest import Stack, git, start
from tests.system.model_server import ModelServer

SECRET = "hunter2SECRETtoken"


@dataclass(frozen=True)
class Harbour:
    """A stack that may fetch from two ports of this machine: one closed, and one that asks for a password."""

    stack: Stack
    closed: int
    private: int
    known: Path


class Asking(http.server.BaseHTTPRequestHandler):
    """A git host on which every repository is private."""

    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="git"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def harbour(tmp_path_factory: pytest.TempPathFactory, model: ModelServer) -> Iterator[Harbour]:
    home = tmp_path_factory.mktemp("harbour") / "home"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Asking) as server, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets it, and connections are refused
        ports = closed.getsockname()[1], server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        allowed = ",".join(f"127.0.0.1:{port}" for port in ports)
        stack = start(home, GPT_OSS_URL=model.url, MCP_HUB_PRIVATE_HOSTS=allowed)
        known = tmp_path_factory.mktemp("known")
        git(known, "init", "-q")
        yield Harbour(stack, *ports, known)
        assert stack.cli("down").code == 0
        server.shutdown()
        thread.join(timeout=5)


@pytest.fixture
def works(harbour: Harbour, model: ModelServer) -> Iterator[None]:
    """The next request works, whatever the test sent before it."""
    yield
    model.script("It works.")
    assert harbour.stack.orchestrate(query="And now?", repo_url=str(harbour.known))["answer"] == "It works."


def refused(answer: httpx.Response, status: int, code: str, *words: str) -> str:
    """Check the one shape of an error; return its message."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "request_id"}
    assert (error["code"], error["request_id"]) == (code, answer.headers["x-request-id"])
    for word in words:
        assert word in error["message"]
    return str(error["message"])


def failed(harbour: Harbour, status: int, code: str, **body: Any) -> str:
    """Send a request whose task fails; return the error's message."""
    result = harbour.stack.orchestrate(status, **body)
    assert (result["status"], result["error"]["code"]) == ("failed", code), result
    with harbour.stack.client() as client:
        assert client.get(f"/tasks/{result['task_id']}").json() == result
    return str(result["error"]["message"])


# --- bodies ----------------------------------------------------------------------------------------------------------

INVALID: list[tuple[dict[str, Any], str]] = [
    ({}, "'query'"),
    ({"query": ""}, "'query'"),
    ({"query": " \n\t "}, "'query'"),
    ({"query": None}, "'query'"),
    ({"query": 7}, "'query'"),
    ({"query": ["a"]}, "'query'"),
    ({"query": "q", "repo": "https://example.org/a/b"}, "Unknown field 'repo'"),
    ({"query": "q", "max_steps": "many"}, "'max_steps'"),
    ({"query": "q", "max_steps": 0}, "'max_steps'"),
    ({"query": "q", "max_steps": 1e300}, "'max_steps'"),
    ({"query": "q", "timeout_s": -1}, "'timeout_s'"),
    ({"query": "q", "files": "README.md"}, "'files'"),
    ({"query": "q", "files": ["a"] * 101}, "'files'"),
    ({"query": "q", "mode": "later"}, "'mode'"),
    ({"query": "q", "ref": "main"}, "'ref'"),
    ({"query": "q" * 1_000_001}, "'query'"),
    ({"query": "a NUL \x00"}, "'query'"),
    ({"query": "q", "files": ["a\x00b"]}, "'files"),
    ({"query": "q", "model": "a\x00b"}, "'model'"),
]


@pytest.mark.usefixtures("works")
def test_every_wrong_field_is_named(harbour: Harbour) -> None:
    with harbour.stack.client() as client:
        for body, word in INVALID:
            refused(client.post("/orchestrate", json=body), 422, "invalid_field", word)


@pytest.mark.usefixtures("works")
def test_what_is_no_json_object_is_refused(harbour: Harbour) -> None:
    with harbour.stack.client(headers={"Content-Type": "application/json"}) as client:
        for body in (b"{", b"query=q", b"\xff\xfe", b'{"query": "\xff"}', b"[" * 100_000, b"9" * 5000):
            refused(client.post("/orchestrate", content=body), 400, "malformed", "JSON")
        for body in (b"[]", b'"q"', b"null", b""):
            refused(client.post("/orchestrate", content=body), 422, "invalid_field", "JSON object")
        for field in ("query", "repo_url", "ref", "model"):
            body = b'{"query": "q", "%s": "\\ud800"}' % field.encode()
            refused(client.post("/orchestrate", content=body), 422, "invalid_field", f"'{field}'")


@pytest.mark.usefixtures("works")
def test_a_body_over_the_limit_is_refused_declared_or_not(harbour: Harbour) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"query": "'
        for _ in range(160):
            yield b"q" * 65536
        yield b'"}'

    with harbour.stack.client(headers={"Content-Type": "application/json"}) as client:
        refused(client.post("/orchestrate", content=b"".join(chunks())), 413, "too_large", "send less")
        refused(client.post("/orchestrate", content=chunks()), 413, "too_large", "send less")


@pytest.mark.usefixtures("works")
def test_what_no_url_can_mean_is_refused_everywhere(harbour: Harbour) -> None:
    with harbour.stack.client() as client:
        refused(client.get("/tasks/%00"), 404, "not_found", "GET /tasks")
        refused(client.get("/tasks/../../etc/passwd%00"), 404, "not_found")
        refused(client.get("/containers/%00"), 404, "not_found", "GET /containers")
        assert client.get("/tasks", params={"workspace": "\x00"}).status_code in (200, 422)
        for cursor in ("x", "\xff", base64.urlsafe_b64encode(b"0001-01-01T00:00:00 x").decode()):
            refused(client.get("/tasks", params={"cursor": cursor}), 422, "invalid_field", "'cursor'")
        refused(client.put("/orchestrate"), 405, "method_not_allowed")
        refused(client.get("/nowhere"), 404, "not_found", "/docs")
        for name in ("Host", "Origin"):
            refused(client.get("/tasks", headers={name: "http://["}), 401, "unauthenticated")


@pytest.mark.usefixtures("works")
def test_a_strange_last_event_id_starts_at_the_beginning(harbour: Harbour, model: ModelServer) -> None:
    model.script("Done.")
    task = harbour.stack.orchestrate(query="q")["task_id"]
    with harbour.stack.client() as client:
        for given in (b"x", b"\xb2", b"-1", b"9" * 5000):
            headers = [(b"Last-Event-ID", given), (b"Accept", b"application/json")]
            answer = client.get(f"/tasks/{task}/events", headers=headers)
            assert answer.status_code == 200, answer.text


# --- repositories ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("works")
def test_an_unreachable_repository_is_named(harbour: Harbour) -> None:
    closed = failed(harbour, 502, "repository_unreachable", query="q", repo_url=f"http://127.0.0.1:{harbour.closed}/x")
    assert "127.0.0.1" in closed
    unknown = failed(harbour, 502, "repository_unreachable", query="q", repo_url="https://nowhere.invalid/a/b")
    assert "nowhere.invalid" in unknown
    assert "try again" in unknown


@pytest.mark.usefixtures("works")
def test_a_private_repository_asks_for_the_users_own_credentials(harbour: Harbour) -> None:
    url = f"http://127.0.0.1:{harbour.private}/owner/private"
    assert "credential" in failed(harbour, 502, "repository_forbidden", query="q", repo_url=url)


@pytest.mark.usefixtures("works")
def test_a_wrong_ref_of_a_new_local_repository_names_similar_ones(harbour: Harbour, repository: Path) -> None:
    git(repository, "branch", "feature/tides")
    message = failed(harbour, 422, "ref_not_found", query="q", repo_url=str(repository), ref="feature/tide")
    assert "feature/tides" in message


@pytest.mark.usefixtures("works")
def test_what_is_no_ref_or_not_there_is_refused(harbour: Harbour, repository: Path) -> None:
    with harbour.stack.client() as client:
        for ref in ("-upload-pack=x", "a b", "a..b", "a\nb", "@{-1}", "a\x00b", "", "x" * 256, "a.lock", "~1"):
            body = {"query": "q", "repo_url": str(repository), "ref": ref}
            refused(client.post("/orchestrate", json=body), 422, "invalid_field", "'ref'")
    for ref in ("ünïcode", "$(touch x)", "';drop table tasks;--", "%00", "@", "a//b"):
        result = harbour.stack.orchestrate(422, query="q", repo_url=str(repository), ref=ref)
        code = result["error"]["code"]
        assert code in ("ref_not_found", "invalid_field"), result


@pytest.mark.usefixtures("works")
def test_addresses_of_this_machine_and_its_network_are_refused(harbour: Harbour) -> None:
    for place in (
        "169.254.169.254",
        "127.0.0.1:1",
        "[::1]",
        "localhost",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "0.0.0.0",
        "[::ffff:127.0.0.1]",
        "[::ffff:169.254.169.254]",
        "10.0.0.1",
        "192.168.1.1",
        "[fe80::1]",
    ):
        message = failed(harbour, 403, "address_forbidden", query="q", repo_url=f"http://{place}/x")
        assert ("MCP_HUB_PRIVATE_HOSTS" in message) is not ("169.254" in place or "fe80" in place)


@pytest.mark.usefixtures("works")
def test_what_names_no_repository_is_refused(harbour: Harbour, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "file").write_text("x")
    with harbour.stack.client() as client:
        for url in (
            "ext::sh -c 'touch /tmp/x'",
            "fd::17",
            "ftp://example.org/x",
            "--upload-pack=touch x",
            "-x",
            "relative/path",
            "./here",
            "",
            "https://",
            "https:///a/b",
            "https://example.org",
            "https://example.org/../x",
            "https://exa mple.org/x",
            "https://example.org/a\nb",
            "https://[::1/x",
            "https://example.org:port/x",
            "~nobody-has-this-name/x",
            "//example.org/owner/name",
        ):
            answer = client.post("/orchestrate", json={"query": "q", "repo_url": url})
            assert answer.status_code == 422, (url, answer.text)
            refused(answer, 422, "invalid_field", "repo_url")
    assert "git init" in failed(harbour, 422, "invalid_field", query="q", repo_url=str(plain))
    for path in (plain / "file", tmp_path / "missing"):
        assert str(path) in failed(harbour, 422, "invalid_field", query="q", repo_url=str(path))


CREDENTIALS = (
    "https://user:{}@127.0.0.1:{port}/owner/name",
    "https://{}@127.0.0.1:{port}/owner/name",
    "http://user:{}@127.0.0.1:{port}/owner/name.git",
    "ssh://git:{}@127.0.0.1:{port}/owner/name",
    "user:{}@127.0.0.1/owner/name",
    "oauth2:{}@example.invalid:owner/name",
    "https:/user:{}@127.0.0.1:{port}/owner/name",
    "//user:{}@127.0.0.1:{port}/owner/name",
    "https://user:{}/more@127.0.0.1:{port}/owner/name",
    "https://user:{}#more@127.0.0.1:{port}/owner/name",
    "https://user:{}?more@127.0.0.1:{port}/owner/name",
    "https://127.0.0.1:{port}/owner/name?access_token={}",
    "https://user:{}@127.0.0.1:port/owner/name",
    "ftp://user:{}@127.0.0.1/owner/name",
    "file://user:{}@127.0.0.1/owner/name",
    "https://user:%68{}@127.0.0.1/owner/name",
)


@pytest.mark.usefixtures("works")
def test_a_url_with_credentials_is_refused_and_never_kept(harbour: Harbour) -> None:
    with harbour.stack.client() as client:
        for form in CREDENTIALS:
            url = form.replace("{port}", str(harbour.closed)).replace("{}", SECRET)
            answer = client.post("/orchestrate", json={"query": "q", "repo_url": url})
            assert SECRET not in answer.text
            refused(answer, 422, "invalid_field", "repo_url")
            told = harbour.stack.cli("run", "q", "--repo", url) if form in CREDENTIALS[:2] else None
            assert told is None or (told.code != 0 and SECRET not in told.out + told.err)
    assert places_of(SECRET, harbour.stack) == []


def places_of(text: str, stack: Stack) -> list[str]:
    """Every file below a home, and every column of its database, that holds `text`."""
    found = []
    for folder, _, names in os.walk(stack.home):
        for name in names:
            path = Path(folder) / name
            if path.is_file() and text.encode() in path.read_bytes():
                found.append(str(path))
    with psycopg.connect(EmbeddedPostgres(Home(stack.home).pg).url()) as connection:
        query = "select table_name from information_schema.tables where table_schema = 'public'"
        for (table,) in connection.execute(query).fetchall():
            everything = sql.SQL("select t::text from {} t").format(sql.Identifier(table))
            found += [table for (row,) in connection.execute(everything) if text in row]
    return found


def test_the_search_for_secrets_finds_one(harbour: Harbour, model: ModelServer) -> None:
    model.script("ok")
    harbour.stack.orchestrate(query="a query that is kept: 5up3r")
    assert "tasks" in places_of("5up3r", harbour.stack)


# --- what a repository holds -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("works")
def test_files_outside_of_the_tree_are_missing_and_never_shown(
    harbour: Harbour, model: ModelServer, repository: Path
) -> None:
    secret = repository.parent / "outside.txt"
    secret.write_text(SECRET)
    (repository / "absolute").symlink_to(secret)
    (repository / "relative").symlink_to("../outside.txt")
    (repository / "folder").symlink_to("/etc")
    (repository / "passwd").symlink_to("/etc/passwd")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "Links")
    asked = ["../outside.txt", "../../../../etc/passwd", "/etc/passwd", str(secret), "absolute", "relative",
             "folder/passwd", "passwd", ".git/config", "", "README.md/x", "docs", "nothing", "README.md"]  # fmt: skip
    model.script(
        [("filesystem__read_file", {"path": "passwd"}), ("filesystem__read_file", {"path": "folder/passwd"})],
        [("filesystem__write_file", {"path": "relative", "content": "overwritten"})],
        [("filesystem__write_file", {"path": "folder/moorage-was-here", "content": "x"})],
        "Done.",
    )
    result = harbour.stack.orchestrate(query="q", repo_url=str(repository), files=asked)
    assert result["status"] == "succeeded"
    assert "README.md" not in result["files_missing"]
    assert {name for name in asked if name not in (".git/config", "README.md", "docs")} <= set(result["files_missing"])
    assert "root:" not in json.dumps(model.requests)
    assert SECRET not in json.dumps(model.requests)
    assert secret.read_text() == SECRET
    assert not Path("/etc/moorage-was-here").exists()


@pytest.mark.usefixtures("works")
def test_odd_file_names_survive_the_whole_job(
    harbour: Harbour, model: ModelServer, repository: Path, tmp_path: Path
) -> None:
    odd = [b"new\nline.txt", b'quo"te.txt', b"sin'gle.txt", b"\xff\xfe.txt", "ünï.txt".encode(), b" lead", b"-dash",
           b"tab\t.txt", b"back\\slash", b"$(touch pwned)", b"a:b"]  # fmt: skip
    for name in odd:
        Path(os.fsdecode(os.fsencode(repository) + b"/" + name)).write_text("one\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "Odd names")
    change = "for f in *.txt ' lead' ./-dash 'back\\slash' '$(touch pwned)' a:b; do echo two >> \"$f\"; done"
    model.script(
        [("filesystem__list_directory", {}), ("git__status", {})],
        [("filesystem__write_file", {"path": "new\nline.txt", "content": "written\n"})],
        [("shell__exec", {"command": change}), ("filesystem__search", {"query": "two"})],
        "Done.",
    )
    result = harbour.stack.orchestrate(query="q", repo_url=str(repository))
    assert result["status"] == "succeeded", result
    assert len(result["changes"]["files"]) == len(odd)
    with harbour.stack.client() as client:
        patch = client.get(result["changes"]["patch_url"]).content
    git(tmp_path, "clone", "-q", str(repository), "clone")
    subprocess.run(["git", "-C", str(tmp_path / "clone"), "apply", "-"], input=patch, check=True)
    for name in odd:
        text = Path(os.fsdecode(os.fsencode(tmp_path / "clone") + b"/" + name)).read_text()
        assert text == ("written\ntwo\n" if b"\n" in name else "one\ntwo\n")
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.usefixtures("works")
def test_nothing_a_hostile_repository_configures_runs_on_the_host(
    harbour: Harbour, model: ModelServer, repository: Path, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for hook in ("post-index-change", "post-checkout", "reference-transaction", "pre-commit", "post-commit"):
        for folder in (hooks, repository / ".git" / "hooks"):
            (folder / hook).write_text(f"#!/bin/sh\ntouch {marks}/hook-{hook}\n")
            (folder / hook).chmod(0o755)
    settings = {
        "core.fsmonitor": f"touch {marks}/fsmonitor; false",
        "core.hooksPath": str(hooks),
        "core.sshCommand": f"touch {marks}/ssh",
        "core.pager": f"touch {marks}/pager",
        "core.editor": f"touch {marks}/editor",
        "core.askPass": f"touch {marks}/askpass",
        "core.alternateRefsCommand": f"touch {marks}/alternates",
        "alias.status": f"!touch {marks}/alias",
        "alias.rev-parse": f"!touch {marks}/alias",
        "diff.external": f"touch {marks}/external",
        "uploadpack.packObjectsHook": f"touch {marks}/pack-objects",
        "credential.helper": f"!touch {marks}/credential",
        "gpg.program": f"touch {marks}/gpg",
        "commit.gpgSign": "true",
        "extensions.worktreeConfig": "true",
    }
    for name, value in settings.items():
        git(repository, "config", name, value)
    (repository / "UNCOMMITTED").write_text("x")
    for mark in marks.iterdir():
        mark.unlink()
    model.script([("git__status", {}), ("shell__exec", {"command": "git diff HEAD; git log -1"})], "Done.")
    result = harbour.stack.orchestrate(query="q", repo_url=str(repository))
    assert result["status"] == "succeeded", result
    assert [path.name for path in marks.iterdir()] == []


@pytest.mark.usefixtures("works")
def test_a_repository_whose_configured_work_tree_is_elsewhere_shows_nothing_of_it(
    harbour: Harbour, model: ModelServer, repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside.txt").write_text(SECRET)
    git(repository, "config", "core.worktree", str(tmp_path))
    model.script([("shell__exec", {"command": "cat outside.txt ../outside.txt; git ls-files"})], "Done.")
    with harbour.stack.client() as client:
        client.post("/orchestrate", json={"query": "q", "repo_url": str(repository)})
    shown = [message for message in (model.requests or [{"messages": []}])[-1]["messages"] if message["role"] == "tool"]
    assert SECRET not in json.dumps(shown)


@pytest.mark.usefixtures("works")
def test_repositories_without_commits_files_or_work_tree_work(
    harbour: Harbour, model: ModelServer, repository: Path, tmp_path: Path
) -> None:
    unborn, bare, empty = tmp_path / "unborn", tmp_path / "bare", tmp_path / "empty"
    for path in (unborn, empty):
        path.mkdir()
        git(path, "init", "-q")
    git(empty, "commit", "-q", "--allow-empty", "-m", "Nothing")
    git(tmp_path, "clone", "-q", "--bare", str(repository), str(bare))
    for path, listed in ((unborn, ""), (empty, ""), (bare, "README.md")):
        model.script(
            [("shell__exec", {"command": "ls"})],
            [("filesystem__write_file", {"path": "made", "content": "1\n"})],
            "Done.",
        )
        result = harbour.stack.orchestrate(query="q", repo_url=str(path))
        assert result["status"] == "succeeded", (path, result)
        assert [change["path"] for change in result["changes"]["files"]] == ["made"], path
        assert listed in json.dumps(model.requests[1]["messages"])


@pytest.mark.usefixtures("works")
def test_a_submodule_entry_and_a_large_file_do_no_harm(harbour: Harbour, model: ModelServer, repository: Path) -> None:
    head = git(repository, "rev-parse", "HEAD").strip()
    (repository / ".gitmodules").write_text('[submodule "s"]\n\tpath = s\n\turl = http://169.254.169.254/s\n')
    git(repository, "add", "-A")
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{head},s")
    git(repository, "commit", "-qm", "Submodule")
    (repository / "s").mkdir()
    (repository / "large.bin").write_bytes(os.urandom(30_000_000))
    model.script(
        [("filesystem__read_file", {"path": "large.bin"}), ("shell__exec", {"command": "wc -c large.bin"})], "Ok"
    )
    result = harbour.stack.orchestrate(query="q", repo_url=str(repository), files=["large.bin", "s", "README.md"])
    assert result["status"] == "succeeded", result
    assert result["changes"]["files"] == []
    assert "30000000" in json.dumps(model.requests[1]["messages"])
    assert len(json.dumps(model.requests[1]["messages"])) < 200_000


@pytest.mark.usefixtures("works")
def test_a_branch_whose_name_is_no_utf8_works(harbour: Harbour, model: ModelServer, repository: Path) -> None:
    subprocess.run([b"git", b"-C", os.fsencode(repository), b"checkout", b"-qb", b"odd-\xff"], check=True)
    model.script("Done.")
    assert harbour.stack.orchestrate(query="q", repo_url=str(repository))["status"] == "succeeded"
