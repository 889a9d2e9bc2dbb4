"""How the command line ends: its exit codes, and errors that carry one. Knows no command."""

from enum import IntEnum

from services.local.errors import LocalError


class ExitCode(IntEnum):
    """What the program's end means to a script."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NEEDS_INPUT = 4
    UNREACHABLE = 69
    NOT_ALLOWED = 77
    TIMEOUT = 124
    CANCELLED = 130
    READER_GONE = 141


class CliError(LocalError):
    """One sentence for the person at the terminal, and the code to leave with."""

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class ReaderGone(CliError):
    """Whoever read standard output has closed it, as `head` does: nothing is wrong and nobody is told."""

    def __init__(self) -> None:
        super().__init__("the reader has gone", ExitCode.READER_GONE)


class Unreachable(CliError):
    """The server did not answer, or stopped answering."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ExitCode.UNREACHABLE)


class Refused(Unreachable):
    """Nobody listens at the server's address, so nothing was sent."""


_BY_CODE = {
    "unauthenticated": ExitCode.NOT_ALLOWED,
    "forbidden": ExitCode.NOT_ALLOWED,
    "address_forbidden": ExitCode.NOT_ALLOWED,
    "repository_forbidden": ExitCode.NOT_ALLOWED,
    "timeout": ExitCode.TIMEOUT,
    "cancelled": ExitCode.CANCELLED,
    "not_ready": ExitCode.UNREACHABLE,
    "database_unavailable": ExitCode.UNREACHABLE,
    "too_many_requests": ExitCode.UNREACHABLE,
}
_BY_STATUS = {
    400: ExitCode.USAGE,
    401: ExitCode.NOT_ALLOWED,
    403: ExitCode.NOT_ALLOWED,
    404: ExitCode.USAGE,
    413: ExitCode.USAGE,
    422: ExitCode.USAGE,
    429: ExitCode.UNREACHABLE,
    503: ExitCode.UNREACHABLE,
    504: ExitCode.TIMEOUT,
}


class Refusal(CliError):
    """The server's own error answer: its HTTP status, its code when it named one, and its words."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message, _BY_CODE.get(code) or _BY_STATUS.get(status, ExitCode.FAILED))
        self.status = status
        self.code = code


def exit_code_of(code: str) -> ExitCode:
    """Return what a task that failed with this error code ends with."""
    return _BY_CODE.get(code, ExitCode.FAILED)
