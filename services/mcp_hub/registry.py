"""The catalogue: every server's tools under one name each. Knows no grant and makes no call."""

import hashlib
import re
from collections.abc import Mapping, Sequence

from services.mcp_hub.servers.tool import AnyTool

_SEPARATOR = "__"
_LONGEST = 64


def public_name(server: str, tool: str) -> str:
    """Return `server__tool` in the characters every model API takes, shortened with a hash above 64."""
    name = re.sub(r"[^A-Za-z0-9_-]", "_", f"{server}{_SEPARATOR}{tool}")
    if len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


class Registry:
    """Tools by public name, in the servers' order."""

    def __init__(self, servers: Mapping[str, Sequence[AnyTool]]) -> None:
        self._servers = tuple(servers)
        self._tools: dict[str, AnyTool] = {}
        for server, tools in servers.items():
            for tool in tools:
                name = public_name(server, tool.name)
                if name in self._tools:
                    raise ValueError(f"two tools are called {name}")
                self._tools[name] = tool

    @property
    def servers(self) -> tuple[str, ...]:
        """Names of the servers."""
        return self._servers

    def items(self) -> list[tuple[str, AnyTool]]:
        """Return every tool with its public name."""
        return list(self._tools.items())

    def find(self, name: str) -> AnyTool | None:
        """Return the tool of a public name, None when there is none."""
        return self._tools.get(name)
