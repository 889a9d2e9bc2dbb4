import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator

import pytest

from services.chassis.peers import is_ours, owner_of

CONNECT = "import socket, sys; s = socket.create_connection((sys.argv[1], int(sys.argv[2]))); sys.stdin.read()"


@contextlib.contextmanager
def connected(host: str, user: int | None = None) -> Iterator[tuple[tuple[str, int], tuple[str, int]]]:
    """A connection made by another process, perhaps of another account: its peer and our address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with (
        socket.create_server((host, 0), family=family) as server,
        subprocess.Popen(
            ["/usr/bin/python3", "-c", CONNECT, host, str(server.getsockname()[1])],
            stdin=subprocess.PIPE,
            user=user,
            cwd="/",
        ) as other,
    ):
        server.settimeout(10)
        connection, peer = server.accept()
        with connection:
            yield peer[:2], connection.getsockname()[:2]
        assert other.stdin is not None
        other.stdin.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_connection_of_our_own_account_is_ours(host: str) -> None:
    with connected(host) as (peer, here):
        assert is_ours(peer, here)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        assert owner_of(family, peer, here) == os.geteuid()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")
def test_a_connection_of_another_account_is_not() -> None:
    with connected("127.0.0.1", user=65534) as (peer, here):
        assert owner_of(socket.AF_INET, peer, here) == 65534
        assert not is_ours(peer, here)


def test_a_connection_that_does_not_exist_is_not_ours() -> None:
    assert not is_ours(("127.0.0.1", 1), ("127.0.0.1", 2))
    assert not is_ours(("no address", 1), ("127.0.0.1", 2))
