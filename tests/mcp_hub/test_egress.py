"""The egress proxy of a sandbox, over its Unix socket."""

import contextlib
import http.server
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mcp_hub.support import OTHER, WORKSPACE, Hub, StartHub, git


class Upstream(http.server.BaseHTTPRequestHandler):
    """Says what it was sent."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        said = f"{self.path} host={self.headers['Host']} connection={self.headers['Connection']} ".encode() + body
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


class Sandbox:
    """What a process in the sandbox sees: its proxy."""

    def __init__(self, hub: Hub, path: Path) -> None:
        self.hub = hub
        self.path = path

    def allow(self, *globs: str, path: Path | None = None) -> int:
        body = {"socket": str(path or self.path), "allow": list(globs)}
        return self.hub.internal("PUT", f"/internal/egress/{WORKSPACE}", body).status_code

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(10)
        connection.connect(str(self.path))
        return connection

    def say(self, data: bytes) -> bytes:
        with self.connect() as connection:
            connection.sendall(data)
            return received(connection)

    def connect_to(self, target: str) -> bytes:
        return self.say(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())

    @contextlib.contextmanager
    def bridged(self) -> Iterator[str]:
        """Offer the proxy on a TCP port, as the sandbox's holder does."""
        server = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=self._bridge, args=(server,))
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)

    def _bridge(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                inner, _ = server.accept()
                threading.Thread(target=join, args=(inner, self.connect())).start()


def join(inner: socket.socket, outer: socket.socket) -> None:
    with inner, outer:
        back = threading.Thread(target=carry, args=(outer, inner))
        back.start()
        carry(inner, outer)
        back.join()


def carry(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def received(connection: socket.socket) -> bytes:
    data = b""
    while chunk := connection.recv(65536):
        data += chunk
    return data


@pytest.fixture
def sandbox(start_hub: StartHub, tmp_path: Path, upstream: int) -> Sandbox:
    return Sandbox(start_hub(private_hosts=f"127.0.0.1:{upstream}"), tmp_path / "egress.sock")


def test_the_socket_is_private_and_a_second_put_only_changes_the_rules(sandbox: Sandbox, upstream: int) -> None:
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(sandbox.path))
    stale.close()
    assert sandbox.allow("nothing.example") == 204
    first = sandbox.path.stat()
    assert stat.S_IMODE(first.st_mode) == 0o600
    assert b" 403 " in sandbox.connect_to(f"127.0.0.1:{upstream}")
    assert sandbox.allow(f"127.0.0.1:{upstream}") == 204
    assert sandbox.path.stat().st_ino == first.st_ino
    assert sandbox.hub.internal("DELETE", f"/internal/egress/{WORKSPACE}").status_code == 204
    assert not sandbox.path.exists()
    assert sandbox.hub.internal("DELETE", f"/internal/egress/{WORKSPACE}").status_code == 204


def test_a_place_where_no_socket_can_be_is_an_invalid_field(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert sandbox.allow("a", path=tmp_path / "file") == 422
    assert (tmp_path / "file").read_text() == "mine"
    assert sandbox.allow("a", path=tmp_path / "no" / "folder") == 422
    assert sandbox.hub.internal("PUT", "/internal/egress/nonsense", {"socket": "/x", "allow": []}).status_code == 404


def test_an_allow_list_alone_does_not_open_a_private_address(sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        target = f"127.0.0.1:{server.getsockname()[1]}"
        sandbox.allow(target)
        assert b"MCP_HUB_PRIVATE_HOSTS" in sandbox.connect_to(target)


def test_a_tunnel_to_an_allowed_host_half_closes(start_hub: StartHub, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"
        sandbox = Sandbox(start_hub(private_hosts=host), tmp_path / "egress.sock")

        def echo() -> None:
            peer, _ = server.accept()
            with peer:
                # Answers only once it has seen the end: without a half-close both sides would wait for ever.
                peer.sendall(received(peer)[::-1])

        thread = threading.Thread(target=echo)
        thread.start()
        sandbox.allow(host)
        with sandbox.connect() as connection:
            connection.sendall(f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\nearly".encode())
            connection.sendall(b" late" * 50_000)
            connection.shutdown(socket.SHUT_WR)
            answer = received(connection)
        thread.join(10)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert body == (b"early" + b" late" * 50_000)[::-1]
    (line,) = sandbox.hub.audited("egress", 1)
    assert (line["host"], line["allowed"], line["sent"], line["received"]) == ("127.0.0.1", True, 250_005, 250_005)


def test_a_plain_request_is_passed_on_once_and_its_connection_closed(sandbox: Sandbox, upstream: int) -> None:
    host = f"127.0.0.1:{upstream}"
    sandbox.allow(host)
    request = f"POST http://{host}/a?b=1 HTTP/1.1\r\nHost: other.example\r\nProxy-Connection: keep-alive\r\n"
    body = "Content-Length: 5\r\n\r\nhello"
    hidden = "POST http://forbidden.example/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    answer = sandbox.say((request + body + hidden).encode())
    head, _, said = answer.partition(b"\r\n\r\n")
    assert said == f"/a?b=1 host={host} connection=close hello".encode()
    assert b"connection: close" in head.lower()
    assert answer.count(b"HTTP/1.1 ") == 1


def test_what_is_not_allowed_is_refused_with_the_setting_to_change(sandbox: Sandbox) -> None:
    sandbox.allow("*.pypi.org", "localhost", "169.254.169.254", "*")
    private = ("localhost:443", "169.254.169.254:80", "[::1]:443", "0x7f000001:443")
    for target in private:
        answer = sandbox.connect_to(target)
        assert answer.startswith(b"HTTP/1.1 403 "), target
        assert b"private" in answer
    sandbox.allow("*.pypi.org")
    for request in (
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: a\r\n\r\n",
    ):
        answer = sandbox.say(request)
        reason = answer.split(b"\r\n", 1)[0]
        assert b"403 Sandboxes may not reach evil.example:" in reason
        assert b"ORCHESTRATOR_EGRESS_ALLOW" in reason
    assert b" 403 " in sandbox.connect_to("a.pypi.org:22")
    assert {line["allowed"] for line in sandbox.hub.audited("egress", 7)} == {False}


def test_garbage_and_endless_heads_are_refused(sandbox: Sandbox) -> None:
    sandbox.allow("*")
    assert sandbox.say(b"\x16\x03\x01 not http\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert sandbox.say(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    with sandbox.connect() as connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(b"GET http://a/ HTTP/1.1\r\nX: " + b"x" * 200_000)
        assert received(connection)[:13] in (b"", b"HTTP/1.1 400 ")


def test_a_sandbox_clones_its_own_repository_and_no_other(sandbox: Sandbox, repository: Path, tmp_path: Path) -> None:
    remote = sandbox.hub.mirror(repository, local=True).json()["remote"]
    sandbox.hub.internal(
        "POST", "/internal/mirrors", {"workspace_id": OTHER, "fetch_url": str(repository), "local": True}
    )
    sandbox.allow()
    clone = tmp_path / "clone"
    with sandbox.bridged() as proxy:
        git(tmp_path, "-c", f"http.proxy={proxy}", "clone", "-q", remote, str(clone))
        git(clone, "-c", f"http.proxy={proxy}", "fetch", "-q", "--refetch", "origin")
    assert git(clone, "rev-parse", "HEAD") == git(repository, "rev-parse", "HEAD")
    service = "info/refs?service=git-upload-pack"
    foreign = sandbox.say(
        f"GET http://git.moorage/{OTHER}.git/{service} HTTP/1.1\r\nHost: git.moorage\r\n\r\n".encode()
    )
    assert foreign.startswith(b"HTTP/1.1 403 ")
    push = sandbox.say(f"POST {remote}/git-receive-pack HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".encode())
    assert b"read-only" in push
    assert sandbox.connect_to("git.moorage:443").startswith(b"HTTP/1.1 403 ")


def test_stopping_the_hub_leaves_no_socket(start_hub: StartHub, tmp_path: Path) -> None:
    sandbox = Sandbox(start_hub(), tmp_path / "egress.sock")
    sandbox.allow("*")
    with sandbox.connect() as connection:
        connection.sendall(b"CONNECT ")
        sandbox.hub.internal("DELETE", f"/internal/egress/{WORKSPACE}")
        assert received(connection) == b""
    assert not os.path.lexists(sandbox.path)


def test_a_sandbox_cannot_flood_the_audit(sandbox: Sandbox) -> None:
    sandbox.allow()
    lines: list[str] = []
    for number in range(10_000):
        assert sandbox.say(b"M" * 30_000 + b" http://evil.example/ HTTP/1.1\r\nHost: a\r\n\r\n")
        lines = sandbox.hub.audit_file.read_text().splitlines() if number % 50 == 0 else lines
        if '"suppressed"' in "".join(lines):
            break
    assert any('"suppressed"' in line and WORKSPACE in line for line in lines)
    assert max(map(len, lines)) < 1_000
