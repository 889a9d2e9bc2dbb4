"""The README's table of settings, made from the settings classes: `python -m tests.docs.settings_table` prints it.

With `--write` it also replaces what stands between the markers in README.md.
"""

import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo

from services.agent.settings import Settings as AgentSettings
from services.chassis.settings import ServiceSettings
from services.gpt_oss.settings import Settings as EngineSettings
from services.local.home import Home
from services.local.services import Doors, stages
from services.mcp_hub.settings import Settings as HubSettings
from services.orchestrator.settings import Settings as OrchestratorSettings

README = Path(__file__).parents[2] / "README.md"
BEGIN = "<!-- settings:begin -->"
END = "<!-- settings:end -->"
BETWEEN = re.compile(f"(?<={BEGIN}\n).*(?={END})", re.DOTALL)

SERVICES: tuple[tuple[str, type[ServiceSettings]], ...] = (
    ("orchestrator", OrchestratorSettings),
    ("mcp_hub", HubSettings),
    ("gpt_oss", EngineSettings),
    ("agent", AgentSettings),
)

GIVEN = "†"
"""Marks a variable that the laptop stack gives its processes itself."""

_LISTENING = ("HOST", "PORT", "UDS", "FD")


@dataclass(frozen=True)
class Setting:
    """One variable of one service; `given` when the laptop stack decides it."""

    service: str
    variable: str
    default: str
    meaning: str
    given: bool


def settings() -> list[Setting]:
    """Return every setting of every service, in the order of the classes."""
    given = _given_by_the_stack()
    return [
        Setting(service, name, _shown(field), str(field.description), name in given or service == "agent")
        for service, kind in SERVICES
        for field_name, field in kind.model_fields.items()
        for name in _variables(kind, field_name, field)
    ]


def table() -> str:
    """Return the table as Markdown, with its last newline."""
    rows = [
        (s.service, f"`{s.variable}`{' ' + GIVEN if s.given else ''}", s.default, s.meaning.replace("|", "\\|"))
        for s in settings()
    ]
    head = [("Service", "Variable", "Default", "Meaning"), ("---", "---", "---", "---")]
    return "".join(f"| {' | '.join(row)} |\n" for row in head + rows)


def _variables(kind: type[ServiceSettings], name: str, field: FieldInfo) -> Iterator[str]:
    alias = field.validation_alias
    if alias is None:
        yield f"{kind.model_config['env_prefix']}{name}".upper()
    elif isinstance(alias, AliasChoices):
        # The first choice is the setting's own; the others are what it falls back to.
        yield str(alias.choices[0])
    else:
        yield str(alias)


def _shown(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, tuple):
        value = ", ".join(value)
    if isinstance(value, bool):
        value = str(value).lower()
    return "" if value is None or value == "" else f"`{value}`"


def _given_by_the_stack() -> set[str]:
    """Return the variables a laptop stack sets, or takes away, whatever the user has set."""
    with tempfile.TemporaryDirectory() as folder:
        doors = Doors.open(0)
        try:
            planned = stages(Home.find(folder), doors, {"DATABASE_URL": "given"}, runtime="process")
        finally:
            doors.close()
        names = {name for stage in planned for child in stage for name in child.env} - {"DATABASE_URL"}
    prefixes = [kind.model_config["env_prefix"] for _, kind in SERVICES]
    return names | {f"{prefix}{name}" for prefix in prefixes for name in _LISTENING}


def main() -> None:
    """Print the table, or put it into the README."""
    if sys.argv[1:] == ["--write"]:
        text = README.read_text(encoding="utf-8")
        README.write_text(BETWEEN.sub(lambda _: table(), text), encoding="utf-8")
    else:
        print(table(), end="")


if __name__ == "__main__":
    main()
