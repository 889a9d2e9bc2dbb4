"""What git says when it fails, turned into what the caller is told. Knows no repository."""

import re
from typing import Final

from services.chassis.errors import ServiceError
from services.wire.errors import ErrorCode

_USERINFO: Final = re.compile(r"(?<=://)[^/@\s'\"]+@")
_GENERIC: Final = (
    "please make sure you have the correct access rights",
    "and the repository exists",
    "could not read from remote repository",
    "the remote end hung up unexpectedly",
    "early eof",
    "warning:",
    "hint:",
    "from ",
)
_FORBIDDEN: Final = (
    "authentication failed",
    "could not read username",
    "could not read password",
    "permission denied",
    "access denied",
    "returned error: 401",
    "returned error: 403",
    "terminal prompts disabled",
    "invalid username or",
)
_MISSING_REF: Final = ("couldn't find remote ref", "not our ref", "no such remote ref")
_SSH_HELP: Final = "Add a key of yours to the git host and to your ssh agent, then try `ssh -T git@{host}`."
_HTTP_HELP: Final = "Give git credentials for {host}, for instance with `gh auth login` or `git credential approve`."


def masked(text: str) -> str:
    """Return `text` with the user info of every URL in it hidden."""
    return _USERINFO.sub("***@", text)


def own_words(stderr: str) -> str:
    """Return the one line of git's output that says most, without git's own prefix and without credentials."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    telling = [line for line in lines if not any(mark in line.lower() for mark in _GENERIC)]
    line = (telling or lines or ["git failed without a word"])[-1]
    line = re.sub(r"^(remote: )?(fatal|error): ", "", line, flags=re.IGNORECASE)
    return masked(line)[:500].rstrip(".")


def explain(stderr: str, *, host: str, ssh: bool) -> ServiceError:
    """Return the error for a fetch that failed with this output."""
    words = own_words(stderr)
    lower = stderr.lower()
    if "host key verification failed" in lower:
        message = f"{host}: {words}. Connect once with `ssh -T git@{host}` and accept its key."
        return ServiceError(ErrorCode.REPOSITORY_FORBIDDEN, message)
    if any(mark in lower for mark in _FORBIDDEN):
        remedy = (_SSH_HELP if ssh else _HTTP_HELP).format(host=host)
        return ServiceError(ErrorCode.REPOSITORY_FORBIDDEN, f"{host} refused the repository: {words}. {remedy}")
    message = f"The repository cannot be fetched from {host}: {words}. Check the URL, then try again."
    return ServiceError(ErrorCode.REPOSITORY_UNREACHABLE, message)


def is_missing_ref(stderr: str) -> bool:
    """Whether a fetch failed only because a ref or commit it named is not there."""
    lower = stderr.lower()
    return any(mark in lower for mark in _MISSING_REF)
