"""The services of one laptop stack as child specs: which program, with which environment, on which socket."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.local import probes
from services.local.child import ChildSpec
from services.local.errors import LocalError
from services.local.home import Home
from services.local.leftovers import MARK
from services.local.postgres import EmbeddedPostgres, end_leftovers

_HUB_PORT_OFFSET = 10
_LISTENING = ("HOST", "PORT", "UDS", "FD")
_PREFIXES = ("ORCHESTRATOR", "MCP_HUB", "GPT_OSS")


class PortTaken(LocalError):
    """Another program has the port."""


@dataclass(frozen=True, slots=True)
class Doors:
    """The listening sockets of a stack, bound by the supervisor: they outlive every child."""

    api: socket.socket
    hub: socket.socket

    @classmethod
    def open(cls, port: int) -> "Doors":
        """Bind the API's port, and for the hub the one ten higher or any free one.

        Raises:
            PortTaken: the API's port is not free.
        """
        try:
            api = socket.create_server(("127.0.0.1", port), backlog=512)
        except (OSError, OverflowError) as error:
            # The error's own text repeats itself and the address.
            reason = os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else str(error)
            raise PortTaken(
                f"Port {port} cannot be used ({reason}); "
                f"set MOORAGE_PORT={_other(port)}, or use ./moorage up --port {_other(port)}."
            ) from error
        try:
            hub = socket.create_server(("127.0.0.1", api.getsockname()[1] + _HUB_PORT_OFFSET), backlog=512)
        except (OSError, OverflowError):
            hub = socket.create_server(("127.0.0.1", 0), backlog=512)
        return cls(api, hub)

    @property
    def port(self) -> int:
        """The API's port."""
        return int(self.api.getsockname()[1])

    @property
    def hub_port(self) -> int:
        """The hub's port."""
        return int(self.hub.getsockname()[1])

    @property
    def address(self) -> str:
        """The API's address."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Close both."""
        self.api.close()
        self.hub.close()


def stages(home: Home, doors: Doors, env: Mapping[str, str], *, runtime: str) -> Sequence[Sequence[ChildSpec]]:
    """Return the children of a stack; those of a stage start together, after the stage before is ready.

    Raises:
        LocalError: the embedded Postgres cannot be made.
    """
    base = _base(home, env)
    first = [_engine(home, base), _hub(home, doors, base)]
    database_url = env.get("DATABASE_URL")
    if not database_url:
        server = EmbeddedPostgres(home.pg)
        server.prepare()
        database_url = server.url()
        first.insert(0, _postgres(server, base))
    return [first, [_orchestrator(home, doors, {**base, "DATABASE_URL": database_url}, runtime)]]


def _other(port: int) -> int:
    return port + 1 if port < 65535 else 8081


def _base(home: Home, env: Mapping[str, str]) -> dict[str, str]:
    """The user's environment without what would move a service off its socket."""
    unwanted = {f"{prefix}_{name}" for prefix in _PREFIXES for name in _LISTENING}
    kept = {name: value for name, value in env.items() if name not in unwanted}
    return {**kept, MARK: home.mark, "MOORAGE_SERVICE_SECRET": home.service_secret}


def _postgres(server: EmbeddedPostgres, base: Mapping[str, str]) -> ChildSpec:
    async def ready() -> bool:
        return await asyncio.to_thread(server.accepts)

    return ChildSpec(
        "postgres",
        server.command(),
        base,
        ready,
        before_start=lambda: end_leftovers(server.data),
        stop_signal=signal.SIGINT,
        stop_limit_s=15.0,
    )


def _engine_socket(home: Home) -> Path:
    return home.run_dir / "engine.sock"


def _program(module: str) -> list[str]:
    # -I: a package called `services` in the working directory or on PYTHONPATH must not replace ours.
    return [sys.executable, "-I", "-m", module]


def _engine(home: Home, base: Mapping[str, str]) -> ChildSpec:
    uds = _engine_socket(home)

    async def ready() -> bool:
        return _answers(await probes.status_of("/health", token=home.service_secret, uds=uds))

    def before_start() -> None:
        uds.unlink(missing_ok=True)

    env = {**base, "GPT_OSS_UDS": str(uds)}
    return ChildSpec("engine", _program("services.gpt_oss.main"), env, ready, before_start=before_start)


def _hub(home: Home, doors: Doors, base: Mapping[str, str]) -> ChildSpec:
    async def ready() -> bool:
        return _answers(await probes.status_of("/health", token=home.service_secret, port=doors.hub_port))

    fd = doors.hub.fileno()
    env = {
        **base,
        "MCP_HUB_FD": str(fd),
        "MCP_HUB_STATE_DIR": str(home.path),
        "MCP_HUB_AUDIT_FILE": str(home.logs / "audit.jsonl"),
        "MCP_HUB_ORCHESTRATOR": doors.address,
    }
    return ChildSpec("hub", _program("services.mcp_hub.main"), env, ready, pass_fds=(fd,))


def _orchestrator(home: Home, doors: Doors, base: Mapping[str, str], runtime: str) -> ChildSpec:
    async def ready() -> bool:
        return await probes.status_of("/ready", token=home.token, port=doors.port) == 200

    fd = doors.api.fileno()
    env = {
        **base,
        "MOORAGE_API_TOKEN": home.token,
        "ORCHESTRATOR_FD": str(fd),
        "ORCHESTRATOR_HUB": f"http://127.0.0.1:{doors.hub_port}",
        "ORCHESTRATOR_OFFLINE_ENGINE": f"unix:{_engine_socket(home)}",
        "ORCHESTRATOR_STATE_DIR": str(home.path),
        "ORCHESTRATOR_RUN_DIR": str(home.run_dir),
        "ORCHESTRATOR_RUNTIME": runtime,
    }
    program = _program("services.orchestrator.main")
    return ChildSpec("orchestrator", program, env, ready, pass_fds=(fd,), stop_limit_s=12.0)


def _answers(status: int | None) -> bool:
    return status is not None and status < 500
