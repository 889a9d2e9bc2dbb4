"""The outline of a Python file from its syntax tree: classes, functions, docstrings. Runs nothing of it."""

import ast
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

MAX_SOURCE = 1_000_000
"""Longest source in characters that is parsed."""

_TRIES = 6
"""How often a beginning is shortened: each time is a parse of all of it."""

_STARTS = re.compile(r"[^\s#)\]}]|\s+(?:async def|def|class|@)\b")
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Item:
    """One class or function: nesting depth from 0, its line, its signature, the first line of its docstring."""

    depth: int
    line: int
    signature: str
    doc: str


@dataclass(frozen=True, slots=True)
class Outline:
    """A module's docstring, its names at the top level, and its classes and functions in order."""

    doc: str
    items: tuple[Item, ...]


def outline(source: str) -> Outline | None:
    """Return the outline of Python source, or None when it does not parse."""
    tree = parse(source)
    if tree is None:
        return None
    return Outline(ast.get_docstring(tree) or "", tuple(_items(tree.body, 0)))


def outline_of_part(lines: Sequence[str]) -> Outline | None:
    """Return the outline of a source's beginning: its lines up to the last statement that may be cut."""
    starts = (at for at in range(len(lines) - 1, 0, -1) if _STARTS.match(lines[at]))
    cuts = [len(lines), *islice(starts, _TRIES)]
    found = (outline("\n".join(lines[:cut])) for cut in cuts)
    return next((known for known in found if known is not None), None)


def parse(source: str) -> ast.Module | None:
    """Return the syntax tree of a source that may be anything, or None."""
    if len(source) > MAX_SOURCE:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def last_name(node: ast.expr) -> str:
    """Return the last part of a dotted name; empty for anything else."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _items(body: list[ast.stmt], depth: int) -> list[Item]:
    found: list[Item] = []
    for node in body:
        if isinstance(node, ast.ClassDef):
            bases = ", ".join(_short(base) for base in node.bases)
            signature = f"class {node.name}({bases})" if bases else f"class {node.name}"
            found.append(Item(depth, node.lineno, signature, _first_line(node)))
            found.extend(_items(node.body, depth + 1))
        elif isinstance(node, _Function) and not _is_overload(node):
            found.append(Item(depth, node.lineno, _signature(node), _first_line(node)))
        elif isinstance(node, ast.If | ast.Try):
            # Names defined under a version check or an import guard are part of the module all the same.
            found.extend(_items(node.body, depth))
    return found


def _is_overload(node: _Function) -> bool:
    return any(last_name(decorator) == "overload" for decorator in node.decorator_list)


def _signature(node: _Function) -> str:
    word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    return f"{word} {node.name}({', '.join(_parameters(node.args))})"


def _parameters(args: ast.arguments) -> list[str]:
    names = [arg.arg for arg in args.posonlyargs]
    if args.posonlyargs:
        names.append("/")
    names += [arg.arg for arg in args.args]
    if args.vararg:
        names.append(f"*{args.vararg.arg}")
    elif args.kwonlyargs:
        names.append("*")
    names += [arg.arg for arg in args.kwonlyargs]
    if args.kwarg:
        names.append(f"**{args.kwarg.arg}")
    return names


def _short(node: ast.expr) -> str:
    try:
        text = ast.unparse(node)
    except RecursionError:
        return "…"
    return text if len(text) <= 60 else f"{text[:59]}…"


def _first_line(node: ast.ClassDef | _Function) -> str:
    text = ast.get_docstring(node) or ""
    return text.strip().split("\n")[0].strip()
