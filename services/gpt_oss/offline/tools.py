"""Which offered tool plays which role, and how a lookup becomes a call of it. Knows no intent and no answer."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.gpt_oss.offline.lookups import Lookup, Role, RunCommand


@dataclass(frozen=True, slots=True)
class Tool:
    """One offered function and its JSON schema."""

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def properties(self) -> Mapping[str, Any]:
        """The schema of each parameter."""
        found = self.parameters.get("properties")
        return found if isinstance(found, dict) else {}

    @property
    def required(self) -> list[str]:
        """Names of the parameters that must be given."""
        found = self.parameters.get("required")
        return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an offered tool."""

    name: str
    arguments: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, str]:
        """What makes two calls the same."""
        return self.name, json.dumps(self.arguments, sort_keys=True)


@dataclass(frozen=True, slots=True)
class RoleRule:
    """A role, the words a tool's name may show it by, words that deny it, and the argument it cannot do without."""

    role: Role
    names: tuple[frozenset[str], ...]
    denied: frozenset[str]
    needs: str | None = None


def _names(*options: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(option.split()) for option in options)


_WRITING = frozenset(["write", "create", "delete", "remove", "edit", "apply", "update", "move", "add", "commit", "set"])
_ELSEWHERE = frozenset(["web", "memory", "issues", "issue", "docs", "google", "users", "repositories", "db", "table"])

RULES: tuple[RoleRule, ...] = (
    RoleRule(Role.GIT_LOG, _names("git log", "list commits", "commit history"), _WRITING),
    RoleRule(Role.GIT_DIFF, _names("git diff"), frozenset(["staged", "unstaged"])),
    RoleRule(Role.GIT_STATUS, _names("git status"), frozenset()),
    RoleRule(Role.GIT_SHOW, _names("git show", "show commit", "get commit"), frozenset(["branch", "tag"])),
    RoleRule(
        Role.SEARCH,
        _names("grep", "ripgrep", "rg", "search code", "search text", "search file", "search content", "search"),
        _WRITING | _ELSEWHERE | frozenset(["replace"]),
        needs="pattern",
    ),
    RoleRule(
        Role.READ,
        _names("read text file", "read file", "open file", "view file", "get file", "show file", "cat", "read", "view"),
        _WRITING | _ELSEWHERE | frozenset(["multiple", "many", "media", "image", "info", "resource", "url"]),
        needs="path",
    ),
    RoleRule(
        Role.LIST,
        _names("list directory", "list dir", "list file", "list folder", "print tree", "directory tree", "ls", "tree"),
        _WRITING | _ELSEWHERE | frozenset(["allowed", "sizes"]),
    ),
    RoleRule(
        Role.RUN,
        _names("exec", "shell", "bash", "run command", "execute command", "terminal", "run", "execute"),
        _ELSEWHERE | frozenset(["sql", "query", "python", "tests"]),
        needs="command",
    ),
)
"""Which names fit which role. The first option of a row that fits some tool wins, so the plainest come first."""

ALIASES: Mapping[str, tuple[str, ...]] = {
    "path": ("path", "file_path", "filepath", "filename", "file", "dir", "directory", "dir_path", "folder", "root"),
    "depth": ("depth", "max_depth", "levels"),
    "pattern": ("query", "pattern", "regex", "text", "q", "search", "needle"),
    "limit": ("max_results", "limit", "max_count", "head_limit", "max_matches", "count", "n"),
    "ref": ("ref", "revision", "rev", "target", "commit", "sha"),
    "command": ("command", "cmd", "commands", "script", "argv"),
    "timeout_s": ("timeout_s", "timeout", "timeout_seconds"),
    "line_start": ("line_start", "start_line", "first_line", "start"),
    "line_end": ("line_end", "end_line", "last_line", "end"),
}
"""Parameter names by meaning, the likeliest first."""

_SPARE: Mapping[str, str | int] = {
    "path": ".",
    "depth": 1,
    "limit": 100,
    "ref": "HEAD",
    "timeout_s": 120,
    "line_start": 1,
    "line_end": 2000,
}


class Toolbox:
    """The tools of one request, by role."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self.tools = tuple(tools)
        self._by_role = {rule.role: tool for rule in RULES if (tool := _find(rule, tools)) is not None}

    def call(self, lookup: Lookup) -> Call | None:
        """Return the call that serves `lookup`: by its role's tool, else by a shell, else none."""
        tool = self._by_role.get(lookup.role)
        if tool is not None:
            return Call(tool.name, _fill(tool, lookup.wants()))
        shell = self._by_role.get(Role.RUN)
        if shell is None:
            return None
        return Call(shell.name, _fill(shell, RunCommand(lookup.shell()).wants()))


def words_of(name: str) -> frozenset[str]:
    """Return the words in a tool's name: split at punctuation and capitals, plural endings dropped."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    words = re.findall(r"[a-z0-9]+", spaced.lower())
    singular = (word[:-1] if word in {"files", "folders"} else word for word in words)
    return frozenset(word.replace("directories", "directory") for word in singular)


def _find(rule: RoleRule, tools: Sequence[Tool]) -> Tool | None:
    for option in rule.names:
        for tool in tools:
            words = words_of(tool.name)
            if option <= words and not rule.denied & words and _takes(tool, rule.needs):
                return tool
    return None


def _takes(tool: Tool, meaning: str | None) -> bool:
    return meaning is None or any(alias in tool.properties for alias in ALIASES[meaning])


def _fill(tool: Tool, wants: Mapping[str, str | int]) -> dict[str, Any]:
    """Return arguments in the tool's own names: what is wanted and known to it, and what else it requires."""
    filled: dict[str, Any] = {}
    for meaning, value in wants.items():
        name = next((alias for alias in ALIASES[meaning] if alias in tool.properties and alias not in filled), None)
        if name is not None:
            filled[name] = _fit(value, tool.properties[name])
    for name in tool.required:
        if name not in filled:
            filled[name] = _spare(name, tool.properties.get(name))
    return filled


def _fit(value: str | int, schema: object) -> object:
    """Return `value` in the parameter's type: an argv for a list, and within its bounds for a number."""
    types = _types(schema)
    if isinstance(value, str):
        return ["bash", "-lc", value] if "array" in types and "string" not in types else value
    highest = schema.get("maximum") if isinstance(schema, dict) else None
    fitted = min(value, int(highest)) if isinstance(highest, int | float) else value
    return str(fitted) if types == {"string"} else fitted


def _types(schema: object) -> set[str]:
    """Return the JSON types a schema allows, through lists of types and `anyOf`."""
    if not isinstance(schema, dict):
        return set()
    kind = schema.get("type")
    found = {kind} if isinstance(kind, str) else {item for item in kind or () if isinstance(item, str)}
    for choice in [*(schema.get("anyOf") or ()), *(schema.get("oneOf") or ())]:
        found |= _types(choice)
    return found


def _spare(name: str, schema: object) -> object:
    """Return a harmless value for a parameter that must be given and that the lookup says nothing about."""
    known = schema if isinstance(schema, dict) else {}
    if "default" in known:
        return known["default"]
    types = _types(schema)
    if "null" in types:
        return None
    meaning = next((key for key, aliases in ALIASES.items() if name in aliases), None)
    if meaning is not None and meaning in _SPARE:
        return _fit(_SPARE[meaning], schema)
    if known.get("enum"):
        return known["enum"][0]
    plain: dict[str, object] = {"integer": 1, "number": 1, "boolean": False, "array": [], "object": {}}
    return next((plain[kind] for kind in sorted(types) if kind in plain), "." if "path" in name else "")
