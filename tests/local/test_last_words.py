"""What is told of a process that ended: one sentence out of what it wrote since its start."""

import json
from pathlib import Path

import pytest

from services.local.last_words import last_words, size

INFO = json.dumps({"severity": "INFO", "message": "it listens"})
TRACE = 'Traceback (most recent call last):\n  File "a.py", line 1\n'
ERROR = json.dumps(
    {
        "severity": "ERROR",
        "message": "the start failed",
        "exception": f"{TRACE}OSError: no\n\nDuring handling:\n\n{TRACE}ValueError: the key is wrong\nmore\nof\nit",
    }
)
INVALID = f"""{TRACE}pydantic_core.ValidationError: 1 validation error for Settings
log_level
  Input should be 'info' [type=literal_error]
    For further information visit https://errors.pydantic.dev/"""


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ([INFO, "DATABASE_URL: nobody answers; check it.", ERROR, INFO], "DATABASE_URL: nobody answers; check it"),
        ([INFO, ERROR, INFO], "the start failed: ValueError: the key is wrong more of"),
        ([ERROR, '{"severity": "ERROR", "message": "worse"}'], "worse"),
        ([INFO], "it listens"),
        (
            [INVALID],
            "pydantic_core.ValidationError: 1 validation error for Settings log_level "
            "Input should be 'info' [type=literal_error]",
        ),
    ],
)
def test_the_reason_is_the_last_plain_line_else_the_last_error_else_the_last_line(
    tmp_path: Path, written: list[str], said: str
) -> None:
    log = tmp_path / "child.log"
    log.write_text("\n".join(written) + "\n", encoding="utf-8")
    assert last_words(log) == f"{said} (see {log})"


def test_only_this_starts_words_count(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    assert "wrote nothing" in last_words(log, size(log))
    log.write_text("an older start\n", encoding="utf-8")
    before = size(log)
    assert "wrote nothing" in last_words(log, before)
    with log.open("a", encoding="utf-8") as file:
        file.write("x" * 100_000 + "\n" + INFO + "\n")
    assert last_words(log, before).startswith("x" * 600 + "…")
