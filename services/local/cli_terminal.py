"""The person's terminal: what may be printed where, and a spinner. Knows no task.

Models and tools write what they like; nothing of it reaches a terminal as a control sequence.
"""

import contextlib
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from typing import Literal, TextIO

from services.local.cli_errors import CliError, ReaderGone
from services.local.cli_settings import wants_no_colour

Style = Literal["bold", "dim", "red", "green", "yellow", "cyan"]

_SGR: dict[Style, str] = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_FRAME_S = 0.1


def clean(text: str) -> str:
    """Return text without control and direction characters other than tab and newline."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def one_line(text: str, width: int) -> str:
    """Return text on one line of at most `width` characters, a cut marked with an ellipsis."""
    # What is far beyond the cut is not looked at.
    flat = clean(" ".join(text[: width * 20].split()))
    return flat if len(flat) <= width else flat[: max(width - 1, 0)].rstrip() + "…"


class Terminal:
    """Answers go to standard output, everything else to standard error."""

    def __init__(self) -> None:
        self.out_is_tty = sys.stdout.isatty()
        self.err_is_tty = sys.stderr.isatty()
        self._plain = wants_no_colour()
        self._lock = threading.Lock()
        self._spinner: _Spinner | None = None
        for stream in (sys.stdout, sys.stderr):
            # A surrogate of a file name, or a locale without the letter, is no reason to stop.
            if reconfigure := getattr(stream, "reconfigure", None):
                reconfigure(errors="backslashreplace")

    @property
    def width(self) -> int:
        """Columns of the terminal, 100 when there is none."""
        return shutil.get_terminal_size((100, 24)).columns

    @property
    def marks(self) -> tuple[str, str]:
        """What stands before a step that went well and before one that did not."""
        try:
            "✓✗".encode(sys.stderr.encoding or "ascii")
        except UnicodeEncodeError:
            return "ok", "!!"
        return "✓", "✗"

    def answer(self, text: str) -> None:
        """Write what somebody else wrote: clean on a terminal, as it is for a program; raises as `out` does."""
        self.out(clean(text) if self.out_is_tty else text)

    def out(self, text: str) -> None:
        """Write a line; it may hold our own styles, and nothing else that is not clean.

        Raises:
            ReaderGone: nobody reads it.
            CliError: it cannot be written.
        """
        with self._quiet_spinner(), _reader():
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def out_bytes(self, content: bytes) -> None:
        """Write bytes of the answer exactly as they are.

        Raises:
            ReaderGone: nobody reads them.
            CliError: they cannot be written.
        """
        with self._quiet_spinner(), _reader():
            sys.stdout.flush()
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()

    def note(self, text: str) -> None:
        """Write a line about the answer; it may hold our own styles, and nothing else that is not clean."""
        with self._quiet_spinner(), contextlib.suppress(OSError):
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    def warn(self, text: str) -> None:
        """Write what the person should know although all goes on."""
        self.note(self.style(one_line(f"warning: {text}", 400), "yellow"))

    def style(self, text: str, *styles: Style, on: Literal["out", "err"] = "err") -> str:
        """Return text in a style, where that stream is a terminal that shows it."""
        tty = self.out_is_tty if on == "out" else self.err_is_tty
        if not tty or self._plain or not text:
            return text
        return f"\x1b[{';'.join(_SGR[style] for style in styles)}m{text}\x1b[0m"

    @contextlib.contextmanager
    def spinner(self) -> Iterator["_Spinner"]:
        """Yield a spinner whose `text` says what is being waited for; shown on a terminal only."""
        self._spinner = _Spinner(sys.stderr, self._lock, shown=self.err_is_tty and not self._plain)
        try:
            with self._spinner:
                yield self._spinner
        finally:
            self._spinner = None

    @contextlib.contextmanager
    def _quiet_spinner(self) -> Iterator[None]:
        with self._lock:
            if self._spinner is not None:
                self._spinner.erase()
            yield


class _Spinner:
    """A turning mark and a few words on the last line, drawn by a thread of its own."""

    def __init__(self, stream: TextIO, lock: threading.Lock, *, shown: bool) -> None:
        self.text = ""
        self._stream = stream
        self._lock = lock
        self._shown = shown
        self._drawn = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._turn, name="spinner", daemon=True)

    def __enter__(self) -> "_Spinner":
        if self._shown:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._shown:
            self._thread.join(1.0)
        with self._lock:
            self.erase()

    def say(self, text: str) -> None:
        """Say what is being waited for; nothing for an empty text."""
        self.text = text

    def erase(self) -> None:
        """Take the line away, so that another can be written; the caller holds the lock."""
        if self._drawn:
            self._drawn = False
            with contextlib.suppress(OSError):
                self._stream.write("\r\x1b[2K")
                self._stream.flush()

    def _turn(self) -> None:
        turn = 0
        while not self._stop.wait(_FRAME_S):
            text = self.text
            if not text:
                continue
            columns = shutil.get_terminal_size((100, 24)).columns
            line = one_line(f"{_FRAMES[turn % len(_FRAMES)]} {text}", columns - 1)
            turn += 1
            with self._lock, contextlib.suppress(OSError, UnicodeEncodeError):
                if not self._stop.is_set():
                    self._stream.write(f"\r\x1b[2K{line}")
                    self._stream.flush()
                    self._drawn = True


@contextlib.contextmanager
def _reader() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderGone from error
    except OSError as error:
        raise CliError(f"Standard output cannot be written ({error.strerror}).") from error
