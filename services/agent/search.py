"""Search in the work tree: ripgrep where there is one, else Python in a child process that can be stopped.

Both engines leave out what git ignores, binary and very large files, search hidden ones, and answer in path order.
Expressions are Rust's in one and Python's in the other; what both have in common is what people write.
"""

import base64
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Literal

from services.agent import names, search_worker
from services.agent.children import Children, Finished
from services.agent.git import Git
from services.agent.tree import Tree
from services.chassis.errors import ServiceError
from services.wire.agent import Match, SearchReply, SearchRequest
from services.wire.errors import ErrorCode

Engine = Literal["ripgrep", "python"]

_LINE_CHARACTERS = 500
_OUTPUT_BYTES = 16 * 1024 * 1024


class Search:
    """Finds lines in one work tree."""

    def __init__(
        self, tree: Tree, git: Git, children: Children, *, path: str, timeout: float, engine: Engine | None = None
    ) -> None:
        self._tree, self._git, self._children = tree, git, children
        self._env = {"PATH": path, "LC_ALL": "C.UTF-8"}
        self._timeout = timeout
        self._rg = None if engine == "python" else shutil.which("rg", path=path)

    async def find(self, request: SearchRequest) -> SearchReply:
        """Return the lines that match, in the order of paths and lines.

        Raises:
            ServiceError: invalid_field for a bad expression, not_found, timeout.
        """
        if "\n" in request.query or "\0" in request.query:
            raise ServiceError(ErrorCode.INVALID_FIELD, "Field 'query' must be one line; search for a part of it.")
        start = self._tree.locate(request.path)
        if not start.exists():
            raise self._tree.not_found(start)
        try:
            if self._rg is not None:
                found = await self._ripgrep(request, self._rg, start)
            else:
                found = await self._python(request, start)
        except TimeoutError as error:
            message = f"The search took more than {self._timeout:g} seconds; narrow the path or the expression."
            raise ServiceError(ErrorCode.TIMEOUT, message) from error
        matches = found[: request.max_results]
        engine: Engine = "ripgrep" if self._rg is not None else "python"
        return SearchReply(matches=matches, truncated=len(found) > len(matches), engine=engine)

    async def _ripgrep(self, request: SearchRequest, rg: str, start: Path) -> list[Match]:
        options = ["--no-config", "--json", "--sort=path", "--hidden", "--glob=!.git", "--no-require-git"]
        # Only what git would ignore, so that both engines agree and nothing above the tree has a say.
        options += ["--no-ignore-dot", "--no-ignore-global", "--no-ignore-parent", "--no-messages"]
        options += [f"--max-filesize={search_worker.FILE_BYTES}", f"--max-count={request.max_results + 1}"]
        # With ./ in front no name can pass for an option; the tree itself is ./ and not ././
        where = "./" if start == self._tree.root else f"./{start.relative_to(self._tree.root)}"
        argv = [rg, *options, "--engine=auto", "--regexp", request.query, "--", where]
        finished = await self._run(argv)
        # 2 with matches means only that some file could not be read.
        if finished.code == 2 and finished.stderr.strip():
            raise _bad_expression(finished.stderr)
        return _ripgrep_matches(finished.output, request.max_results + 1)

    async def _python(self, request: SearchRequest, start: Path) -> list[Match]:
        order = {
            "query": request.query,
            "files": [str(path) for path in await self._files(start)],
            "most": request.max_results + 1,
        }
        # A child: a hostile expression can take for ever, and holds the interpreter's lock meanwhile.
        argv = [sys.executable, "-I", "-S", search_worker.__file__]
        finished = await self._run(argv, stdin=json.dumps(order).encode())
        if finished.code == search_worker.BAD_EXPRESSION:
            raise _bad_expression(finished.stderr)
        return [
            _match(base64.b64decode(path), line, base64.b64decode(text))
            for path, line, text in json.loads(finished.output or b"[]")
        ]

    async def _run(self, argv: list[str], stdin: bytes = b"") -> Finished:
        return await self._children.run(
            argv, cwd=self._tree.root, env=self._env, stdin=stdin, limit=_OUTPUT_BYTES, timeout=self._timeout
        )

    async def _files(self, start: Path) -> list[Path]:
        relative = start.relative_to(self._tree.root)
        found: set[str] = set()
        if self._git.exists():
            listed = await self._git.run("ls-files", "-co", "--exclude-standard", "-z", "--", str(relative))
            # Tracked and ignored: ripgrep, which knows no index, leaves these out.
            ignored = await self._git.run("ls-files", "-ci", "--exclude-standard", "-z", "--", str(relative))
            found = {*_split(listed.output)} - {*_split(ignored.output)}
        if not found:  # no repository yet, or a folder that is ignored and was named all the same
            found = {str(path.relative_to(self._tree.root)) for path in _walk(start)}
        return sorted((Path(name) for name in found), key=_in_order)


def _in_order(path: Path) -> list[bytes]:
    return [os.fsencode(part) for part in path.parts]


def _walk(start: Path) -> list[Path]:
    if start.is_file():
        return [start]
    return [path for path in start.rglob("*") if ".git" not in path.parts and path.is_file()]


def _split(listed: bytes) -> list[str]:
    return [name.decode("utf-8", "surrogateescape") for name in listed.split(b"\0") if name]


def _ripgrep_matches(output: bytes, most: int) -> list[Match]:
    found = []
    for line in output.splitlines():
        event = _event(line)
        if event.get("type") != "match":
            continue
        data = event["data"]
        path = _bytes(data["path"]).removeprefix(b"./")
        found.append(_match(path, data["line_number"], _bytes(data["lines"])))
        if len(found) >= most:
            break
    return found


def _event(line: bytes) -> dict[str, Any]:
    try:
        event: dict[str, Any] = json.loads(line)
    except ValueError:  # the last line, when the output went over its limit
        return {}
    return event


def _bytes(value: dict[str, str]) -> bytes:
    return value["text"].encode() if "text" in value else base64.b64decode(value["bytes"])


def _match(path: bytes, line: int, text: bytes) -> Match:
    shown = names.printable(text.rstrip(b"\r\n"))
    if len(shown) > _LINE_CHARACTERS:
        shown = shown[:_LINE_CHARACTERS] + " [cut]"
    return Match(path=names.show(path), line=line, text=shown)


def _bad_expression(words: str) -> ServiceError:
    reason = " ".join(words.split())[:300]
    message = f"Field 'query' is no regular expression ({reason}); escape special characters with a backslash."
    return ServiceError(ErrorCode.INVALID_FIELD, message)
