"""`moorage` and `python -m services.local`: run a command, and end with one sentence and the right code."""

import contextlib
import errno
import os
import sys
from collections.abc import Sequence

from services.local.cli import app
from services.local.cli_errors import CliError, ExitCode, ReaderGone
from services.local.cli_terminal import clean
from services.local.errors import LocalError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    try:
        app(args=None if arguments is None else list(arguments), prog_name="./moorage")
    except SystemExit as end:
        return _flushed(end.code if isinstance(end.code, int) else ExitCode.FAILED)
    except ReaderGone as gone:
        return _flushed(gone.exit_code)
    except LocalError as error:
        _say(str(error))
        return _flushed(error.exit_code if isinstance(error, CliError) else ExitCode.UNREACHABLE)
    except OSError as error:
        # Help and version are not printed by us, and find a full disk all the same.
        if error.errno != errno.ENOSPC:
            raise
        _say(f"Standard output cannot be written ({error.strerror}).")
        return _flushed(ExitCode.FAILED)
    return _flushed(ExitCode.DONE)


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write(f"moorage: {clean(' '.join(text.splitlines())).strip()}\n")
        sys.stderr.flush()


def _flushed(code: int) -> int:
    """Return the code, with nothing left for the interpreter's end to complain about."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # What is left in the buffer would be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if code != ExitCode.DONE:
            return code
        return ExitCode.READER_GONE if isinstance(error, BrokenPipeError) else ExitCode.FAILED
    return code


if __name__ == "__main__":
    sys.exit(main())
