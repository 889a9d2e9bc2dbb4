"""File names and output as JSON text. Names that JSON or a line cannot carry travel as git quotes them.

A name with a control character, a quote, a backslash or bytes that are not UTF-8 is shown in double quotes with C
escapes (`"caf\\351"`, `"two\\nlines"`), and accepted in that form wherever a path is expected.
"""

import os
import re

_PLAIN = re.compile(r'[^\x00-\x1f\x7f"\\\ud800-\udfff]+')
_LETTERS = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 34: '"', 92: "\\"}
_VALUES = {letter: code for code, letter in _LETTERS.items()}
_ESCAPE = re.compile(r'\\(?:([0-3][0-7]{2})|([abtnvfr"\\]))')
_QUOTED = re.compile(r'"(?:[^"\\]|\\[0-3][0-7]{2}|\\[abtnvfr"\\])+"')


def show(name: str | bytes) -> str:
    """Return a file name as text that JSON and one line can carry."""
    text = os.fsdecode(name)
    if _PLAIN.fullmatch(text) or not text:
        return text
    return '"' + "".join(_quoted(character) for character in text) + '"'


def _quoted(character: str) -> str:
    if _PLAIN.fullmatch(character):
        return character
    (code,) = os.fsencode(character)
    return f"\\{_LETTERS[code]}" if code in _LETTERS else f"\\{code:03o}"


def parse(text: str) -> str:
    """Return the file name that `show` shows as `text`."""
    if not _QUOTED.fullmatch(text):
        return text
    return os.fsdecode(_ESCAPE.sub(_unquoted, text[1:-1]).encode("utf-8", "surrogateescape"))


def _unquoted(match: re.Match[str]) -> str:
    octal, letter = match.groups()
    code = int(octal, 8) if octal else _VALUES[letter]
    return bytes([code]).decode("utf-8", "surrogateescape")


def printable(output: bytes) -> str:
    """Return output as text: bytes that are not UTF-8 are replaced, and NUL, which databases refuse, is drawn."""
    return output.decode("utf-8", "replace").replace("\0", "␀")
