"""Choices made from a repository's top level: which README, which licence, which command runs the tests."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.gpt_oss.offline.manifests import Facts
from services.gpt_oss.offline.results import Entry

_README_ORDER = ("readme.md", "readme.rst", "readme.markdown", "readme", "readme.txt", "readme.html")
_PYTHON = ("pyproject.toml", "setup.cfg", "pytest.ini", "tox.ini", "setup.py", "noxfile.py")
_OTHERS = ("package.json", "go.mod", "Cargo.toml", "Makefile")


@dataclass(frozen=True, slots=True)
class TestCommand:
    """A command and why it was chosen."""

    command: str
    why: str


def choose_readme(names: Sequence[str]) -> str | None:
    """Return the README to read: the plain name in the best format, else a translated one."""
    by_name = {name.lower(): name for name in names}
    for wanted in _README_ORDER:
        if wanted in by_name:
            return by_name[wanted]
    return next((name for name in sorted(names) if re.match(r"readme[._-]", name.lower())), None)


def choose_licence(names: Sequence[str]) -> str | None:
    """Return the licence file."""
    return next((name for name in sorted(names) if re.match(r"(licen[cs]e|copying|unlicense)", name.lower())), None)


def test_command(top: Sequence[Entry], facts: Mapping[str, Facts]) -> TestCommand | None:
    """Return how the project runs its tests: by its manifests, then by a folder of Python tests."""
    for name in _PYTHON:
        if name in facts and facts[name].test:
            return TestCommand(facts[name].test, f"`{name}` configures it")
    names = {entry.path for entry in top}
    folder = next((name for name in ("tests", "test") if name in names), None)
    if (folder or "conftest.py" in names) and any(name in names for name in (*_PYTHON, "conftest.py")):
        return TestCommand("python3 -m pytest", f"a Python project with `{folder or 'conftest.py'}`")
    for name in _OTHERS:
        if name in facts and facts[name].test:
            return TestCommand(facts[name].test, f"`{name}` says so")
    if any(re.fullmatch(r"test_\w+\.py|\w+_test\.py", name) for name in names):
        return TestCommand("python3 -m pytest", "there are test files at the top level")
    return None
