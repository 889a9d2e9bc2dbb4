"""Tools for the tests: the hub's names and result formats over a real folder, and the loop a caller runs."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion, ChatCompletionMessageFunctionToolCall

from services.orchestrator.reason.loop import shorten

STRING, INTEGER = {"type": "string"}, {"type": "integer"}


def function(name: str, required: list[str] | None = None, **properties: dict[str, Any]) -> dict[str, Any]:
    """Return an offered tool."""
    schema = {"type": "object", "properties": properties, "required": required or []}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


HUB_TOOLS = [
    function("filesystem__list_directory", path=STRING, depth={"type": "integer", "minimum": 1, "maximum": 20}),
    function("filesystem__read_file", ["path"], path=STRING, line_start=INTEGER, line_end=INTEGER),
    function("filesystem__write_file", ["path", "content"], path=STRING, content=STRING),
    function("filesystem__search", ["query"], query=STRING, path=STRING, max_results=INTEGER),
    function("filesystem__apply_patch", ["patch"], patch=STRING),
    function("git__status"),
    function("git__diff", ref=STRING, path=STRING),
    function("git__log", limit=INTEGER, path=STRING),
    function("git__show", ref=STRING),
    function(
        "shell__exec",
        ["command"],
        command={"anyOf": [{"type": "string"}, {"type": "array", "items": STRING}]},
        workdir=STRING,
        timeout_s=INTEGER,
    ),
]

SHELL_ONLY = [function("bash", ["command"], command=STRING)]


@dataclass
class Hands:
    """Executes tool calls in `root` and remembers them."""

    root: Path
    cut: int = 1_000_000
    """Longest result in characters; of a longer one the caller leaves the middle out."""
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def execute(self, name: str, arguments: dict[str, Any]) -> str:
        self.calls.append((name, arguments))
        tools: dict[str, Callable[[dict[str, Any]], str]] = {
            "filesystem__list_directory": self._list,
            "filesystem__read_file": self._read,
            "filesystem__search": self._search,
            "git__status": lambda a: self._git("status", "--short", "--branch"),
            "git__diff": self._diff,
            "git__log": lambda a: self._git(
                "log", f"-n{a.get('limit', 10)}", "--date=short", "--format=%h %ad %an: %s", "--", *self._path(a)
            ),
            "git__show": lambda a: self._git("show", "--stat", "--patch", a["ref"]),
            "shell__exec": lambda a: self._exec(a["command"]),
            "bash": lambda a: self._exec(a["command"]),
            "container_exec": lambda a: self._exec(a["command"]),
        }
        return shorten(tools[name](arguments), self.cut)

    def _list(self, arguments: dict[str, Any]) -> str:
        base = self.root / arguments.get("path", ".")
        if not base.is_dir():
            return f"error: no directory {arguments['path']}"
        return "\n".join(sorted(self._walk(base, arguments.get("depth", 1)))) or "(empty directory)"

    def _walk(self, base: Path, depth: int) -> Iterator[str]:
        for entry in base.iterdir():
            if entry.name == ".git":
                continue
            name = str(entry.relative_to(self.root))
            yield f"{name}/" if entry.is_dir() else name
            if entry.is_dir() and depth > 1:
                yield from self._walk(entry, depth - 1)

    def _read(self, arguments: dict[str, Any]) -> str:
        path = self.root / arguments["path"]
        if not path.is_file():
            return f"error: no file {arguments['path']}"
        lines = path.read_text(errors="replace").split("\n")
        first, last = arguments.get("line_start", 1), min(arguments.get("line_end", len(lines)), len(lines))
        if first > len(lines):
            return f"error: {arguments['path']} has only {len(lines)} lines"
        text = "\n".join(lines[first - 1 : last])
        whole = first == 1 and last >= len(lines)
        return text if whole else f"[{arguments['path']}: lines {first}-{last} of {len(lines)}]\n{text}"

    def _search(self, arguments: dict[str, Any]) -> str:
        pattern = re.compile(arguments["query"])
        found = []
        for path in sorted(self.root.rglob("*")):
            name = path.relative_to(self.root)
            if path.is_file() and name.parts[0] != ".git":
                lines = path.read_text(errors="replace").split("\n")
                found += [f"{name}:{number}: {line}" for number, line in enumerate(lines, 1) if pattern.search(line)]
        return "\n".join(found[: arguments.get("max_results", 50)]) or "No matches."

    def _diff(self, arguments: dict[str, Any]) -> str:
        ref = [arguments["ref"]] if "ref" in arguments else []
        return self._git("diff", *ref, "--", *self._path(arguments)) or "No differences."

    def _path(self, arguments: dict[str, Any]) -> list[str]:
        return [arguments["path"]] if "path" in arguments else []

    def _git(self, *arguments: str) -> str:
        ran = subprocess.run(["git", *arguments], cwd=self.root, capture_output=True, text=True, check=False)
        return ran.stdout if ran.returncode == 0 else f"error: {ran.stderr.strip()}"

    def _exec(self, command: str | list[str]) -> str:
        argv = ["bash", "-c", command] if isinstance(command, str) else command
        ran = subprocess.run(
            argv,
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env={"PATH": os.defpath + ":/usr/local/bin", "HOME": str(self.root)},
        )
        return f"{ran.stdout.rstrip()}\n[exit code {ran.returncode}]"


async def ask(
    client: AsyncOpenAI, hands: Hands, request: str, tools: list[dict[str, Any]] | None = None, **options: Any
) -> str:
    """Run the loop of a caller until the final answer."""
    messages: list[Any] = [{"role": "system", "content": "You are an agent."}, {"role": "user", "content": request}]
    for _ in range(10):
        offered: Any = HUB_TOOLS if tools is None else tools
        reply: ChatCompletion = await client.chat.completions.create(
            model="offline-rules", messages=messages, tools=offered, **options
        )
        message = reply.choices[0].message
        if not message.tool_calls:
            return message.content or ""
        messages.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls:
            assert isinstance(call, ChatCompletionMessageFunctionToolCall)
            result = hands.execute(call.function.name, json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    raise AssertionError("the engine did not come to an end")
