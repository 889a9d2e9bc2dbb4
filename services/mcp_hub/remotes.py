"""Remote repositories as git may be given them: allowed schemes, checked addresses, credentials out of sight."""

import base64
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from services.chassis.errors import ServiceError
from services.mcp_hub import addresses
from services.mcp_hub.git_errors import masked
from services.mcp_hub.git_process import Git
from services.wire.errors import ErrorCode

_PORTS: Final = {"https": 443, "http": 80, "ssh": 22, "git": 9418}
_SCP: Final = re.compile(r"(?:(?P<user>[^@:/\s]+)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^@:/\s\[\]]+):(?P<path>(?!//).+)")
_LOCATION: Final = re.compile(r"<= Recv header[^:]*: location: (\S+)", re.IGNORECASE)
_SERVICE: Final = "/info/refs?service=git-upload-pack"


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository on another host. `url` has no credentials; `config` and `env` are what git needs beside it."""

    url: str
    scheme: str
    host: str
    port: int
    config: dict[str, str]
    env: dict[str, str]


class Remotes:
    """Makes remotes out of URLs."""

    def __init__(self, git: Git, private_hosts: Sequence[str]) -> None:
        self._git = git
        self._private_hosts = tuple(private_hosts)

    async def prepare(self, url: str) -> Remote:
        """Return the remote of a URL, its address checked and, for http and git, pinned.

        Raises:
            ServiceError: `invalid_field`, `address_forbidden`, or `repository_unreachable` for an unknown host.
        """
        remote = parse(url)
        if remote.scheme == "ssh":
            remote = replace(remote, env={**remote.env, **await self._git.ssh_environment()})
        if addresses.matches(self._private_hosts, remote.host, remote.port):
            return remote
        try:
            found = await addresses.resolve(remote.host, remote.port)
        except (OSError, TimeoutError) as error:
            # A proxy resolves names itself, and an ssh name may be an alias of the user's: git will tell.
            if remote.scheme == "ssh" or self._git.proxied:
                return remote
            message = f"The host {remote.host} is not known here; check the URL and the network, then try again."
            raise ServiceError(ErrorCode.REPOSITORY_UNREACHABLE, message) from error
        shown = f"{remote.host}:{remote.port}"
        addresses.require_public(remote.host, found, f"To allow it, add {shown} to MCP_HUB_PRIVATE_HOSTS.")
        return _pinned(remote, found)

    async def follow(self, remote: Remote, timeout_s: float) -> Remote:
        """Return where a repository on http has moved to, on the same host.

        Raises:
            ServiceError: it moved to another host, or does not say where.
        """
        # Git names the new place only in its trace, in which it hides credentials itself.
        trace = {"GIT_TRACE_CURL": "1", "GIT_TRACE_CURL_NO_DATA": "1", **remote.env}
        asked = await self._git.run(
            "ls-remote", "--", remote.url, "HEAD", config=remote.config, env=trace, timeout_s=timeout_s, check=False
        )
        places = _LOCATION.findall(asked.stderr)
        place = urljoin(remote.url + "/", places[-1]).removesuffix(_SERVICE) if places else None
        if place is not None:
            moved = parse(place)
            if (moved.scheme, moved.host, moved.port) == (remote.scheme, remote.host, remote.port):
                return replace(remote, url=moved.url)
        where = f"to {masked(place)}; use that URL" if place else "without saying where; check the URL"
        raise ServiceError(ErrorCode.REPOSITORY_UNREACHABLE, f"{remote.host} redirects {where}.")


def parse(url: str) -> Remote:
    """Return the remote a URL names, its address still unchecked.

    Raises:
        ServiceError: `invalid_field`.
    """
    if url.startswith("-") or any(ord(char) < 33 or ord(char) == 127 for char in url):
        raise _invalid("it starts with a dash or contains spaces or control characters")
    if "://" not in url:
        return _parse_scp(url)
    parts = urlsplit(url)
    if parts.scheme not in _PORTS:
        raise _invalid(f"the scheme {parts.scheme!r} is not supported")
    try:
        port = parts.port or _PORTS[parts.scheme]
    except ValueError as error:
        raise _invalid("its port is not a number") from error
    host = _host(parts.hostname or "")
    if parts.scheme == "ssh":
        user = f"{unquote(parts.username)}@" if parts.username else ""
        clean = parts._replace(netloc=user + _authority(parts), fragment="").geturl()
        return Remote(clean, "ssh", host, port, {}, {"GIT_ALLOW_PROTOCOL": "ssh"})
    clean = parts._replace(netloc=_authority(parts), fragment="").geturl()
    config = _http_config(parts, clean) if parts.scheme in ("http", "https") else {}
    # The user's own url.insteadOf may turn https into ssh, so all of them are allowed; nothing local is.
    return Remote(clean, parts.scheme, host, port, config, {"GIT_ALLOW_PROTOCOL": "https:http:ssh:git"})


def _parse_scp(url: str) -> Remote:
    found = _SCP.fullmatch(url)
    if found is None:
        raise _invalid("it is no URL")
    user = f"{found['user']}@" if found["user"] else ""
    host = _host(found["host"].strip("[]"))
    return Remote(f"{user}{found['host']}:{found['path']}", "ssh", host, 22, {}, {"GIT_ALLOW_PROTOCOL": "ssh"})


def _host(host: str) -> str:
    if not host or host.startswith("-") or re.search(r"[\s\\/%'\"`$;|&<>(){}]", host):
        raise _invalid("it has no proper host name")
    return host.lower()


def _authority(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def _http_config(parts: SplitResult, clean: str) -> dict[str, str]:
    config = {"http.followRedirects": "false", "http.lowSpeedLimit": "1000", "http.lowSpeedTime": "60"}
    if parts.username and parts.password is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password)}".encode()
        config[f"http.{clean}.extraHeader"] = f"Authorization: Basic {base64.b64encode(pair).decode()}"
    elif parts.username:
        config[f"credential.{clean}.username"] = unquote(parts.username)
    return config


def _pinned(remote: Remote, found: Sequence[str]) -> Remote:
    if remote.scheme in ("http", "https"):
        listed = ",".join(_bracketed(address) for address in found)
        pin = {"http.curloptResolve": f"{remote.host}:{remote.port}:{listed}"}
        return replace(remote, config={**remote.config, **pin})
    if remote.scheme == "git":
        # git:// has no pin of its own: connect to the address and say the name in the request.
        parts = urlsplit(remote.url)
        there = parts._replace(netloc=f"{_bracketed(found[0])}:{remote.port}").geturl()
        return replace(remote, url=there, env={**remote.env, "GIT_OVERRIDE_VIRTUAL_HOST": parts.netloc})
    # An ssh name may be rewritten by the user's ssh configuration, so it is checked but not pinned.
    return remote


def _bracketed(address: str) -> str:
    return f"[{address}]" if isinstance(ipaddress.ip_address(address), ipaddress.IPv6Address) else address


def _invalid(why: str) -> ServiceError:
    forms = "https://host/owner/name, ssh://git@host/owner/name, git@host:owner/name or git://host/name"
    return ServiceError(ErrorCode.INVALID_FIELD, f"Field 'repo_url': {why}; use {forms}.")
