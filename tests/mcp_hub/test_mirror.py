"""Mirrors of repositories on other hosts: real git servers on loopback, and hosts that refuse."""

import http.server
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from services.wire.errors import ErrorCode
from tests.mcp_hub.support import WORKSPACE, Hub, StartHub, git, loopback

PRIVATE = "127.0.0.1:*"


@pytest.fixture
def upstream(tmp_path: Path, repository: Path) -> Path:
    """The sample repository, bare, as a git host keeps it."""
    path = tmp_path / "hosted" / "sample.git"
    git(repository, "clone", "-q", "--bare", str(repository), str(path))
    return path


@pytest.fixture
def daemon(upstream: Path) -> Iterator[str]:
    """A git:// server of the hosted repositories."""
    sock, port = loopback()
    sock.close()
    ran = subprocess.Popen(
        ["git", "daemon", "--export-all", "--listen=127.0.0.1", f"--port={port}", f"--base-path={upstream.parent}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            time.sleep(0.01)
    yield f"git://127.0.0.1:{port}/sample.git"
    os.killpg(ran.pid, 15)
    ran.wait(10)


class Handler(http.server.SimpleHTTPRequestHandler):
    """A dumb HTTP git host; what a path starts with chooses how it misbehaves."""

    seen: list[str]

    def do_GET(self) -> None:
        type(self).seen.append(self.headers.get("Authorization", ""))
        if self.path.startswith("/private/"):
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()
        elif self.path.startswith("/moved/"):
            self._move(self.path.replace("/moved/", "/sample.git/", 1))
        elif self.path.startswith("/elsewhere/"):
            self._move("http://other.example/sample.git/info/refs?service=git-upload-pack")
        else:
            super().do_GET()

    def _move(self, place: str) -> None:
        self.send_response(301)
        self.send_header("Location", place)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def web(folder: Path) -> Iterator[tuple[str, list[str]]]:
    seen: list[str] = []
    handler = type("Bound", (Handler,), {"seen": seen})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: handler(*a, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def host(upstream: Path) -> Iterator[str]:
    git(upstream, "update-server-info")
    with web(upstream.parent) as (url, _):
        yield url


@pytest.fixture
def near(start_hub: StartHub) -> Hub:
    """A hub that may fetch from loopback."""
    return start_hub(private_hosts=PRIVATE)


def refused(response: object, code: ErrorCode) -> str:
    assert hasattr(response, "json")
    error = response.json()["error"]
    assert error["code"] == code, error
    return str(error["message"])


def test_the_first_fetch_names_the_default_branch_and_a_second_brings_news(
    near: Hub, daemon: str, upstream: Path, repository: Path
) -> None:
    first = near.mirror(daemon)
    assert first.status_code == 200, first.text
    reply = first.json()
    assert reply["commit"] == git(repository, "rev-parse", "HEAD")
    assert reply["ref"] == "main"
    assert reply["remote"] == f"http://git.moorage/{WORKSPACE}.git"
    assert reply["dirty"] is False
    (repository / "new.txt").write_text("new")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "third")
    git(repository, "push", "-q", str(upstream), "main")
    git(upstream, "branch", "-D", "feature/login")
    assert near.mirror(daemon).json()["commit"] == git(repository, "rev-parse", "HEAD")
    mirror = near.state_dir / "mirrors" / f"{WORKSPACE}.git"
    assert git(mirror, "for-each-ref", "--format=%(refname)", "refs/heads") == "refs/heads/main"
    assert near.mirror(daemon).json()["ms"] < 2_000
    assert [line["error"] for line in near.audited("fetch", 3)] == [None] * 3


def test_a_ref_may_be_a_branch_a_tag_a_commit_or_its_beginning(near: Hub, daemon: str, repository: Path) -> None:
    first = git(repository, "rev-parse", "v1")
    for ref in ("feature/login", "v1", "refs/tags/v1", first, first[:10]):
        reply = near.mirror(daemon, ref=ref).json()
        assert (reply["commit"], reply["ref"]) == (first, ref)


def test_a_commit_no_branch_reaches_is_fetched_by_its_id(near: Hub, daemon: str, upstream: Path) -> None:
    tree = git(upstream, "rev-parse", "main^{tree}")
    hidden = git(upstream, "commit-tree", tree, "-m", "hidden")
    git(upstream, "update-ref", "refs/pull/1/head", hidden)
    assert near.mirror(daemon, ref="refs/pull/1/head").json()["commit"] == hidden
    assert near.mirror(daemon, ref=hidden).json()["commit"] == hidden


def test_a_wrong_ref_names_similar_branches(near: Hub, daemon: str) -> None:
    response = near.mirror(daemon, ref="feature/logn")
    assert response.status_code == 422
    assert "feature/login" in refused(response, ErrorCode.REF_NOT_FOUND)
    refused(near.mirror(daemon, ref="0" * 40), ErrorCode.REF_NOT_FOUND)
    for ref in ("--upload-pack=touch /tmp/x", "a b", "a..b", "x\ny"):
        refused(near.mirror(daemon, ref=ref), ErrorCode.INVALID_FIELD)


def test_an_ambiguous_default_branch_is_asked_for(near: Hub, daemon: str, upstream: Path) -> None:
    git(upstream, "branch", "also", "main")
    assert near.mirror(daemon).json()["ref"] == "main"


def test_an_empty_repository_has_no_commit(near: Hub, daemon: str, upstream: Path) -> None:
    git(upstream.parent, "init", "-q", "--bare", "-b", "main", "empty.git")
    reply = near.mirror(daemon.replace("sample", "empty")).json()
    assert (reply["commit"], reply["ref"]) == (None, None)


def test_http_hosts_work_and_a_move_on_the_same_host_is_followed(near: Hub, host: str, repository: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")
    assert near.mirror(f"{host}/sample.git").json()["commit"] == head
    assert near.mirror(f"{host}/moved").json()["commit"] == head
    moved = refused(near.mirror(f"{host}/elsewhere"), ErrorCode.REPOSITORY_UNREACHABLE)
    assert "redirects to http://other.example/sample.git; use that URL" in moved


def test_a_private_repository_says_how_to_give_credentials(near: Hub, host: str) -> None:
    response = near.mirror(f"{host}/private/repo.git")
    assert response.status_code == 502
    message = refused(response, ErrorCode.REPOSITORY_FORBIDDEN)
    assert "could not read Username" in message
    assert "gh auth login" in message


def test_credentials_in_a_url_are_used_and_never_shown(near: Hub, upstream: Path, tmp_path: Path) -> None:
    with web(upstream.parent) as (url, seen):
        response = near.mirror(url.replace("://", "://user:s3cret@") + "/private/repo.git")
        assert "s3cret" not in refused(response, ErrorCode.REPOSITORY_FORBIDDEN)
        assert "Basic dXNlcjpzM2NyZXQ=" in seen
    assert "s3cret" not in near.audit_file.read_text()
    assert not [p for p in (tmp_path / "hub").rglob("*") if p.is_file() and b"s3cret" in p.read_bytes()]


def test_hosts_that_do_not_answer_are_unreachable_in_upstreams_words(near: Hub) -> None:
    sock, port = loopback()
    sock.close()
    message = refused(near.mirror(f"http://127.0.0.1:{port}/a.git"), ErrorCode.REPOSITORY_UNREACHABLE)
    assert "127.0.0.1" in message
    assert "connect" in message.lower()
    unknown = refused(near.mirror("https://nowhere.invalid/a.git"), ErrorCode.REPOSITORY_UNREACHABLE)
    assert "nowhere.invalid is not known here" in unknown


def test_private_addresses_are_refused_after_resolution(hub: Hub) -> None:
    for url in (
        "http://127.0.0.1:9/a.git",
        "http://localhost/a.git",
        "https://[::1]/a",
        "https://[::ffff:169.254.169.254]/a",
        "http://169.254.169.254/latest",
        "http://2130706433/a",
        "http://0/a",
        "git://10.0.0.1/a",
        "ssh://git@192.168.1.1/a",
        "git@100.64.0.1:a/b",
    ):
        response = hub.mirror(url)
        assert response.status_code == 403, url
        message = refused(response, ErrorCode.ADDRESS_FORBIDDEN)
        # How to let a private host in is told, but not for where a cloud hands out its credentials.
        assert ("MCP_HUB_PRIVATE_HOSTS" in message) is ("169.254" not in url)


def test_odd_urls_are_invalid(hub: Hub) -> None:
    odd = ("ext::sh -c id", "file:///etc", "/etc", "--upload-pack=id", "ftp://a/b", "https://-oProxyCommand=id/a", "no")
    for url in odd:
        response = hub.mirror(url)
        assert response.status_code == 422, url
        refused(response, ErrorCode.INVALID_FIELD)


def test_a_fetch_beyond_its_time_is_ended_and_the_next_one_works(
    start_hub: StartHub, daemon: str, repository: Path
) -> None:
    sock, port = loopback()
    hub = start_hub(private_hosts=PRIVATE, fetch_timeout_s=0.5)
    with sock:
        silent = hub.mirror(f"git://127.0.0.1:{port}/a")
    assert silent.status_code == 504
    assert "MCP_HUB_FETCH_TIMEOUT_S" in refused(silent, ErrorCode.TIMEOUT)
    assert hub.mirror(daemon).json()["commit"] == git(repository, "rev-parse", "HEAD")


def test_locks_of_a_killed_git_do_not_block_the_next_fetch(near: Hub, daemon: str, repository: Path) -> None:
    near.mirror(daemon)
    mirror = near.state_dir / "mirrors" / f"{WORKSPACE}.git"
    shutil.rmtree(mirror / "refs" / "heads", ignore_errors=True)
    (mirror / "packed-refs").unlink(missing_ok=True)
    (mirror / "refs" / "heads").mkdir(parents=True)
    lock = mirror / "refs" / "heads" / "main.lock"
    lock.touch()
    os.utime(lock, (1, 1))
    assert near.mirror(daemon).json()["commit"] == git(repository, "rev-parse", "HEAD")


def test_a_server_cannot_make_the_search_for_similar_branches_long(near: Hub, daemon: str, upstream: Path) -> None:
    head = git(upstream, "rev-parse", "main")
    long = "login" + "x" * 120
    names = [long, "main", *(f"n{number:04}" for number in range(2_500)), "zz/logon"]
    (upstream / "packed-refs").write_text("".join(f"{head} refs/heads/{name}\n" for name in sorted(names)))
    message = refused(near.mirror(daemon, ref="zz/login"), ErrorCode.REF_NOT_FOUND)
    assert "zz/logon" not in message
    assert "branches are: " in message
    assert "main" in refused(near.mirror(daemon, ref="mian"), ErrorCode.REF_NOT_FOUND)
    assert "login" not in refused(near.mirror(daemon, ref=long[:-1]), ErrorCode.REF_NOT_FOUND).partition(";")[2]


def test_a_removed_mirror_is_gone_with_the_sandboxs_socket(near: Hub, repository: Path, tmp_path: Path) -> None:
    assert near.mirror(repository, local=True).status_code == 200
    path = tmp_path / "egress.sock"
    near.internal("PUT", f"/internal/egress/{WORKSPACE}", {"socket": str(path), "allow": []})
    place = f"/internal/mirrors/{WORKSPACE}"
    assert httpx.delete(near.url + place, headers={"Authorization": f"Bearer {near.grant()}"}).status_code == 401
    assert path.exists()
    assert near.internal("DELETE", place).status_code == 204
    assert not path.exists()
    assert list((near.state_dir / "mirrors").iterdir()) == []
    headers = {"Authorization": f"Bearer {near.grant()}"}
    listing = f"{near.url}/git/{WORKSPACE}.git/info/refs?service=git-upload-pack"
    assert httpx.get(listing, headers=headers, trust_env=False).status_code == 404
    assert near.internal("DELETE", place).status_code == 204
    assert near.internal("DELETE", "/internal/mirrors/nonsense").status_code == 404
    assert near.mirror(repository, local=True).status_code == 200


def test_only_services_may_fetch(hub: Hub) -> None:
    body = {"workspace_id": WORKSPACE, "fetch_url": "https://example.com/a"}
    for headers in ({}, {"Authorization": f"Bearer {hub.grant()}"}):
        answer = httpx.post(f"{hub.url}/internal/mirrors", json=body, headers=headers, trust_env=False)
        assert answer.status_code == 401
