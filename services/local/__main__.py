"""`moorage` and `python -m services.local`: run a command, and end with one sentence and the right code."""

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
        message = clean(" ".join(str(error).split("\n"))).strip()
        sys.stderr.write(f"moorage: {message}\n")
        return _flushed(error.exit_code if isinstance(error, CliError) else ExitCode.UNREACHABLE)
    return _flushed(ExitCode.DONE)


def _flushed(code: int) -> int:
    """Return the code, with nothing left for the interpreter's end to complain about."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # What is left in the buffer would be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.READER_GONE if code == ExitCode.DONE else code
    return code


if __name__ == "__main__":
    sys.exit(main())
