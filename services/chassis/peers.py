"""Whose process is at the other end of a loopback connection. Knows no rule that follows from it.

Loopback is shared by every account of a machine; the kernel's table of sockets tells them apart (proc(5), net/tcp).
"""

import os
import socket
from pathlib import Path

_TABLES = {socket.AF_INET: Path("/proc/net/tcp"), socket.AF_INET6: Path("/proc/net/tcp6")}
_LOCAL, _REMOTE, _UID = 1, 2, 7

Address = tuple[str, int]


def is_ours(peer: Address, here: Address) -> bool:
    """Whether the connection from `peer` to `here` was made by our own account, or by root.

    A system without such a table is taken at its word: there loopback alone has to do. A connection that is not in the
    table is not ours.
    """
    if not _TABLES[socket.AF_INET].exists():
        return True
    return any(owner_of(family, peer, here) in (0, os.geteuid()) for family in _TABLES)


def owner_of(family: socket.AddressFamily, peer: Address, here: Address) -> int | None:
    """Return the user id that owns the socket at `peer` connected to `here`, None when there is no such socket."""
    wanted = [_as_in_table(family, address) for address in (peer, here)]
    try:
        with _TABLES[family].open(encoding="ascii") as table:
            for line in table:
                fields = line.split()
                if [fields[_LOCAL], fields[_REMOTE]] == wanted:
                    return int(fields[_UID])
    except FileNotFoundError:  # a kernel without IPv6
        return None
    return None


def _as_in_table(family: socket.AddressFamily, address: Address) -> str:
    host, port = address[0], address[1]
    if family is socket.AF_INET6 and ":" not in host:
        host = f"::ffff:{host}"
    try:
        packed = socket.inet_pton(family, host)
    except OSError:
        return ""
    # Words of 32 bits in the machine's own order, which is little-endian wherever we run.
    words = [packed[place : place + 4][::-1].hex().upper() for place in range(0, len(packed), 4)]
    return f"{''.join(words)}:{port:04X}"
