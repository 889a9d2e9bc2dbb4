"""What a project's manifests say: name, description, how it is built and tested, dependencies. One reader each."""

import ast
import configparser
import json
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from services.gpt_oss.offline.outline import last_name, parse


@dataclass(frozen=True, slots=True)
class Facts:
    """What one manifest says; empty where it says nothing. `notes` are short phrases for people."""

    name: str = ""
    description: str = ""
    build: str = ""
    test: str = ""
    notes: tuple[str, ...] = ()
    dependencies: tuple[str, ...] = ()
    licence: str = ""


Reader = Callable[[str], Facts]
_SETUP = frozenset(["name", "version"])
"""What the arguments of a setup call are recognised by."""


def _pyproject(text: str) -> Facts:
    parsed = _toml(text)
    project, tools = _table(parsed, "project"), _table(parsed, "tool")
    poetry = _table(tools, "poetry")
    backend = str(_table(parsed, "build-system").get("build-backend") or "")
    notes = [f"build backend `{backend}`"] if backend else []
    python = project.get("requires-python") or _table(poetry, "dependencies").get("python")
    if isinstance(python, str):
        notes.append(f"Python `{python}`")
    if scripts := {**_table(project, "scripts"), **_table(poetry, "scripts")}:
        notes.append("installs the command " + ", ".join(f"`{name}`" for name in list(scripts)[:4]))
    listed = project.get("dependencies")
    dependencies = listed if isinstance(listed, list) else [n for n in _table(poetry, "dependencies") if n != "python"]
    return Facts(
        name=str(project.get("name") or poetry.get("name") or ""),
        description=str(project.get("description") or poetry.get("description") or ""),
        build="python3 -m build" if backend else "",
        test="python3 -m pytest" if "pytest" in tools else "",
        notes=tuple(notes),
        dependencies=tuple(str(item) for item in dependencies),
        licence=_licence(project.get("license") or poetry.get("license")),
    )


def _setup_cfg(text: str) -> Facts:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return Facts()
    wanted = parser.get("options", "install_requires", fallback="")
    return Facts(
        name=parser.get("metadata", "name", fallback=""),
        description=parser.get("metadata", "description", fallback=""),
        test="python3 -m pytest" if parser.has_section("tool:pytest") else "",
        licence=parser.get("metadata", "license", fallback=""),
        dependencies=tuple(line.strip() for line in wanted.splitlines() if line.strip()),
    )


def _setup_py(text: str) -> Facts:
    tree = parse(text)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)] if tree else []
    given = next((_constants(call) for call in calls if last_name(call.func) == "setup"), {})
    if "name" not in given:
        # Some write setup(**kwargs) with the arguments in a dict(...) of their own.
        told = (call for call in calls if last_name(call.func) == "dict" and {k.arg for k in call.keywords} >= _SETUP)
        given = next(map(_constants, told), given)
    python = str(given.get("python_requires") or "")
    return Facts(
        name=str(given.get("name") or ""),
        description=str(given.get("description") or ""),
        notes=(f"Python `{python}`",) if python else (),
    )


def _constants(call: ast.Call) -> Mapping[str | None, object]:
    return {keyword.arg: keyword.value.value for keyword in call.keywords if isinstance(keyword.value, ast.Constant)}


def _package_json(text: str) -> Facts:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return Facts()
    scripts = _table(parsed, "scripts")
    test = str(scripts.get("test") or "")
    names = ", ".join(f"`{name}`" for name in list(scripts)[:8])
    return Facts(
        name=str(_get(parsed, "name") or ""),
        description=str(_get(parsed, "description") or ""),
        build="npm install && npm run build" if "build" in scripts else "npm install",
        test="npm test" if test and "no test specified" not in test else "",
        notes=(f"npm scripts {names}",) if names else (),
        licence=_licence(_get(parsed, "license")),
        dependencies=tuple(f"{name} {wanted}" for name, wanted in _table(parsed, "dependencies").items()),
    )


def _cargo(text: str) -> Facts:
    parsed = _toml(text)
    package = _table(parsed, "package")
    members = _table(parsed, "workspace").get("members")
    notes = (f"workspace of {', '.join(f'`{member}`' for member in members[:6])}",) if isinstance(members, list) else ()
    return Facts(
        name=str(package.get("name") or ""),
        description=str(package.get("description") or ""),
        build="cargo build",
        test="cargo test",
        notes=notes,
        dependencies=tuple(_table(parsed, "dependencies")),
        licence=_licence(package.get("license")),
    )


def _go_mod(text: str) -> Facts:
    module = re.search(r"^module\s+(\S+)", text, re.MULTILINE)
    version = re.search(r"^go\s+(\S+)", text, re.MULTILINE)
    wanted = re.findall(r"^(?:require\s+|\t)([\w.-]+\.[\w./-]+ v\S+)(?!.*// indirect)", text, re.MULTILINE)
    return Facts(
        name=module.group(1) if module else "",
        build="go build ./...",
        test="go test ./...",
        notes=(f"Go {version.group(1)}",) if version else (),
        dependencies=tuple(wanted),
    )


def _makefile(text: str) -> Facts:
    targets = [name for name in re.findall(r"^([A-Za-z][\w.-]*)\s*:(?![=:])", text, re.MULTILINE) if name != "PHONY"]
    named = ", ".join(f"`{name}`" for name in dict.fromkeys(targets[:10]))
    return Facts(
        build="make build" if "build" in targets else "make",
        test=next((f"make {name}" for name in ("test", "tests", "check") if name in targets), ""),
        notes=(f"make targets {named}",) if named else (),
    )


def _pkg_info(text: str) -> Facts:
    head = text.split("\n\n", maxsplit=1)[0]
    name = re.search(r"^Name:\s*(.+)$", head, re.MULTILINE)
    summary = re.search(r"^Summary:\s*(.+)$", head, re.MULTILINE)
    licence = re.search(r"^License(?:-Expression)?:\s*(.+)$", head, re.MULTILINE)
    wanted = re.findall(r"^Requires-Dist:\s*(.+)$", head, re.MULTILINE)
    return Facts(
        name=name.group(1).strip() if name else "",
        description=summary.group(1).strip() if summary else "",
        dependencies=tuple(item for item in wanted if "extra ==" not in item),
        licence=licence.group(1).strip() if licence else "",
    )


def _requirements(text: str) -> Facts:
    lines = (line.split(" #")[0].strip() for line in text.splitlines())
    return Facts(dependencies=tuple(line for line in lines if line and not line.startswith(("#", "-"))))


def _pytest_ini(_: str) -> Facts:
    return Facts(test="python3 -m pytest")


def _tox(text: str) -> Facts:
    return Facts(test="python3 -m pytest" if "pytest" in text else "tox")


def _composer(text: str) -> Facts:
    facts = _package_json(text)
    return Facts(name=facts.name, description=facts.description, build="composer install")


READERS: Mapping[str, Reader] = {
    "pyproject.toml": _pyproject,
    "package.json": _package_json,
    "Cargo.toml": _cargo,
    "go.mod": _go_mod,
    "setup.cfg": _setup_cfg,
    "setup.py": _setup_py,
    "pytest.ini": _pytest_ini,
    "tox.ini": _tox,
    "Makefile": _makefile,
    "composer.json": _composer,
    "PKG-INFO": _pkg_info,
    "requirements.txt": _requirements,
}
"""Manifests that can be read, the most telling first."""


def choose(names: Collection[str], limit: int) -> list[str]:
    """Return the manifests among `names` that are worth reading, best first."""
    return [name for name in READERS if name in names][:limit]


def read_manifest(name: str, text: str) -> Facts:
    """Return what the manifest `name` with this text says; nothing when it cannot be parsed."""
    return READERS[name](text)


def _toml(text: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        # A cut file does not parse; its sections before the cut do.
        head = text.rpartition("\n[")[0]
        return _toml(head) if head else {}


def _licence(given: object) -> str:
    """Return a licence's name; some manifests name it in a table, or only the file."""
    return given if isinstance(given, str) else str(_get(given, "text") or "")


def _table(parsed: object, key: str) -> Mapping[str, Any]:
    found = _get(parsed, key)
    return found if isinstance(found, dict) else {}


def _get(parsed: object, key: str) -> object:
    return parsed.get(key) if isinstance(parsed, dict) else None
