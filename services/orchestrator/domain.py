"""Which repository a URL means, and the workspace that belongs to it. Knows no store and no network."""

import hashlib
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, unquote, urlsplit

from services.wire.base import WorkspaceId

_SCHEMES = {"https": 443, "http": 80, "ssh": 22, "git": 9418}
_SCP = re.compile(r"^(?:(?P<user>[\w.-]+)@)?(?P<host>[\w.-]+):(?!//)(?P<path>[^\s:].*)$")
_HOST = re.compile(r"^(?=.{1,253}$)[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?$|^\[[0-9a-f:.]+\]$")


class BadRepository(ValueError):
    """The text names no repository we can use; the message says why and what to write instead."""


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository: `canonical` is its identity, `fetch_url` what git is given. Neither holds a credential."""

    canonical: str
    fetch_url: str
    kind: Literal["remote", "local"]

    @property
    def workspace_id(self) -> WorkspaceId:
        """The id of the workspace that belongs to this repository."""
        return workspace_id(self.canonical)


def workspace_id(canonical: str) -> WorkspaceId:
    """Return `ws-` and the first 20 hex digits of the SHA-256 of a canonical URL."""
    return WorkspaceId("ws-" + hashlib.sha256(canonical.encode()).hexdigest()[:20])


def scratch_workspace_id() -> WorkspaceId:
    """Return the id of a workspace that belongs to one task and no repository."""
    return workspace_id(f"scratch:{uuid.uuid4()}")


def parse_repo_url(raw: str) -> Repository:
    """Return the repository that a URL, an scp-like address or an absolute path means.

    Raises:
        BadRepository: when it is none of these, or carries a password. The message never repeats a credential.
    """
    text = raw.strip()
    # A path may begin with two slashes, a URL without its scheme does: the one with a password must not be kept.
    if text.startswith("//"):
        raise BadRepository("repo_url starts with two slashes; write https: before them, or one slash for a path")
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise BadRepository("repo_url contains control characters; write it on one line")
    if text.startswith("-"):
        raise BadRepository("repo_url may not start with '-'; write ./ before a path that does")
    if text.startswith(("/", "~", "./", "../")) or text in (".", ".."):
        return _local(text)
    if "://" in text:
        return _from_url(text)
    if (scp := _SCP.match(text)) and "::" not in text:
        # user:password@host is a URL that lost its scheme, and looks like host:path.
        if "@" in scp["path"]:
            raise BadRepository("repo_url has an '@' after a ':'; write it as https://host/owner/name, no credentials")
        return _remote("ssh", scp["user"] or "git", scp["host"], None, scp["path"], scp=True)
    raise BadRepository("repo_url must be an https, ssh or git URL, user@host:path, or an absolute path")


def _from_url(text: str) -> Repository:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        # Neither quoted nor chained: what stands where the port should be may be half a password.
        raise BadRepository("repo_url is not a URL; write it as https://host/owner/name, without credentials") from None
    scheme = url.scheme.lower()
    if scheme == "file":
        if url.netloc not in ("", "localhost"):
            raise BadRepository("a file URL names a path on this machine: file:///path")
        return _local(unquote(url.path))
    if scheme not in _SCHEMES:
        raise BadRepository(f"repo_url has the scheme {scheme[:20]!r}; use https, ssh, git, file or a path")
    _refuse_credentials(url, scheme)
    if url.query or url.fragment:
        raise BadRepository("repo_url may not have a query or fragment; give the plain clone URL")
    return _remote(scheme, url.username, url.hostname or "", port, url.path)


def _refuse_credentials(url: SplitResult, scheme: str) -> None:
    if url.password is not None or (url.username and scheme != "ssh"):
        raise BadRepository(
            "repo_url contains credentials; remove them: git's own credentials on the fetching side are used instead"
        )


def _remote(scheme: str, user: str | None, host: str, port: int | None, path: str, *, scp: bool = False) -> Repository:
    host = host.lower().rstrip(".")
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    if not _HOST.match(host) or (user is not None and not re.fullmatch(r"[\w.-]+", user)):
        raise BadRepository("repo_url has no usable host name; write it as https://host/owner/name")
    clean = path.strip("/").removesuffix(".git").rstrip("/")
    if not clean or any(part in (".", "..") for part in clean.split("/")):
        raise BadRepository("repo_url names no repository; write it as https://host/owner/name")
    port = None if port == _SCHEMES[scheme] else port
    place = f"{host}:{port}" if port else host
    canonical = f"{place}/{clean}"
    if scp:
        return Repository(canonical, f"{user}@{host}:{path}", "remote")
    login = f"{user}@" if user else ""
    return Repository(canonical, f"{scheme}://{login}{place}/{path.lstrip('/')}", "remote")


def _local(text: str) -> Repository:
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        raise BadRepository(f"repo_url: {error}") from error
    if not path.is_absolute():
        raise BadRepository("a local repository must be given by its absolute path")
    resolved = str(path.resolve())
    try:
        resolved.encode()
    except UnicodeEncodeError as error:
        raise BadRepository("the path of a local repository must be UTF-8") from error
    return Repository(f"file://{resolved}", resolved, "local")
