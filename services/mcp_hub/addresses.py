"""Which network addresses the hub may be made to connect to. Knows no protocol."""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from fnmatch import fnmatchcase

from services.chassis.errors import ServiceError
from services.wire.errors import ErrorCode

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# What `is_global` does not know of, or not in every Python: translated, tunnelled and documentation addresses.
_RESERVED = tuple(
    ipaddress.ip_network(text)
    for text in (
        "192.88.99.0/24",  # 6to4 relays
        "::/96",  # IPv4-compatible
        "::ffff:0:0:0/96",  # translated by SIIT
        "64:ff9b:1::/48",  # NAT64 of a local network
        "2001::/32",  # Teredo
        "3fff::/20",
        "5f00::/16",  # segment routing
    )
)


def is_public(address: IpAddress) -> bool:
    """Whether an address is a host on the public internet, looking through IPv6 forms that carry an IPv4 one."""
    inner = _carried(address)
    if inner is not None:
        return is_public(inner)
    local = address.is_multicast or (isinstance(address, ipaddress.IPv6Address) and address.is_site_local)
    return address.is_global and not local and not any(address in network for network in _RESERVED)


def _carried(address: IpAddress) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def split_authority(text: str) -> tuple[str, str | None]:
    """Split `host`, `host:port` or `[v6]:port` into a lower-case host without brackets, and the port's text."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host.lower(), rest.removeprefix(":") or None
    host, colon, port = text.partition(":")
    if ":" in port:
        return text.lower(), None
    return host.lower().rstrip("."), port if colon else None


def matches(globs: Iterable[str], host: str, port: int, default_ports: tuple[int, ...] | None = None) -> bool:
    """Whether a `host` or `host:port` glob covers the destination; `default_ports` None means any port."""
    name = host.lower().rstrip(".")
    for glob in globs:
        wanted, wanted_port = split_authority(glob)
        if wanted_port is None:
            port_fits = default_ports is None or port in default_ports
        else:
            port_fits = fnmatchcase(str(port), wanted_port)
        if port_fits and fnmatchcase(name, wanted):
            return True
    return False


def names_exactly(globs: Iterable[str], host: str, port: int) -> bool:
    """Whether one of the globs is this very host and port, spelled out."""
    return any(split_authority(glob) == (host.lower().rstrip("."), str(port)) for glob in globs)


async def resolve(host: str, port: int, *, timeout_s: float = 10.0) -> list[str]:
    """Return the addresses of a host, at least one.

    Raises:
        OSError: the name does not resolve, or not in time.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise socket.gaierror(f"{host!r} is not a host name") from error
    return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))


def require_public(host: str, addresses: Iterable[str], remedy: str) -> None:
    """Let a resolved name pass only when every address of it is public.

    Raises:
        ServiceError: `address_forbidden`, with `remedy` as what to do next.
    """
    for text in addresses:
        address = ipaddress.ip_address(text)
        if not is_public(address):
            if (getattr(address, "ipv4_mapped", None) or address).is_link_local:
                remedy = "There a cloud answers with credentials; use another address."
            message = f"{host} is a private, loopback or otherwise reserved address. {remedy}"
            raise ServiceError(ErrorCode.ADDRESS_FORBIDDEN, message)
