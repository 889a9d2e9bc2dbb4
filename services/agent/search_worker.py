"""The Python search engine, as a program of its own: an order on stdin, matches on stdout. Imports nothing of ours."""

import base64
import json
import os
import re
import stat
import sys
from collections.abc import Iterator

FILE_BYTES = 10_000_000
"""Larger files are not searched, by either engine."""

BAD_EXPRESSION = 3
"""Exit code when the expression does not compile."""

_LINE_BYTES = 4_000


def main() -> int:
    """Search the files of the order and print [path, line, text] rows, path and text in base64."""
    order = json.load(sys.stdin)
    try:
        expression = re.compile(order["query"].encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
    except re.error as error:
        sys.stderr.write(str(error))
        return BAD_EXPRESSION
    rows = []
    for name in order["files"]:
        for number, line in _matches(name, expression):
            path = base64.b64encode(os.fsencode(name)).decode()
            rows.append((path, number, base64.b64encode(line[:_LINE_BYTES]).decode()))
            if len(rows) >= order["most"]:
                json.dump(rows, sys.stdout)
                return 0
    json.dump(rows, sys.stdout)
    return 0


def _matches(name: str, expression: "re.Pattern[str]") -> Iterator[tuple[int, bytes]]:
    content = _content(name)
    if b"\0" in content:
        return
    lines = content.split(b"\n")
    for number, line in enumerate(lines if lines[-1] else lines[:-1], start=1):
        if expression.search(line.removesuffix(b"\r").decode("utf-8", "replace")):
            yield number, line


def _content(name: str) -> bytes:
    try:
        status = os.lstat(name)
        if not stat.S_ISREG(status.st_mode) or status.st_size > FILE_BYTES:
            return b""
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123  (descriptor)
            return file.read(FILE_BYTES)
    except OSError:
        return b""


if __name__ == "__main__":
    sys.exit(main())
