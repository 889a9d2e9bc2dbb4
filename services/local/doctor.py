"""What this machine has and lacks for Moorage, as values. Prints nothing, changes nothing."""

import errno
import os
import platform
import shutil
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import httpx
import psycopg
from pydantic import ValidationError

from services.local.errors import LocalError
from services.local.home import Home, environment
from services.local.model_settings import advice, ignored
from services.local.postgres import binaries
from services.local.programs import git_version, install_line, output_of, sandbox_problem, sandbox_remedy
from services.local.stack import StackStatus, choose_port, status
from services.local.unprivileged import disguise
from services.wire.health import Health, PartState

_OLDEST_PYTHON = (3, 11)
_FIRST_PYTHON_NOT_TRIED = (3, 14)
_OLDEST_GIT = (2, 31)
_PINNING_GIT = (2, 37)
"""First version with `http.curloptResolve`, by which a fetch goes to the very address that was checked."""
_LITTLE_DISK_GB = 2.0
_LIMIT_S = 3.0


class CheckState(StrEnum):
    """`warn` works with less; `fail` stops Moorage from working."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: what was found, and the command or setting that helps when it is not ok."""

    name: str
    state: CheckState
    detail: str
    remedy: str | None = None


def examine(home: Home, *, port: int | None = None) -> list[Check]:
    """Look at everything, in the order a person would fix it; takes a few seconds at most."""
    env = environment()
    running = status(home)
    checks = [
        check_python(),
        check_git(),
        check_sandbox(),
        check_ripgrep(),
        check_home(home),
        check_port(choose_port(port, env), running),
        check_postgres(env),
        check_model(env, up=running.up),
    ]
    return [*checks, *check_stack(home, running), *check_settings(home, running, env)]


def check_python() -> Check:
    """Whether this Python is one that Moorage is tested on."""
    found = platform.python_version()
    if _OLDEST_PYTHON <= sys.version_info[:2] < _FIRST_PYTHON_NOT_TRIED:
        return Check("python", CheckState.OK, f"Python {found}")
    return Check("python", CheckState.FAIL, f"Python {found}; 3.11 to 3.13 is needed", _install("python3"))


def check_git() -> Check:
    """Whether git is there and new enough."""
    found = git_version()
    if found is None:
        return Check("git", CheckState.FAIL, "git is not installed", _install("git"))
    text = f"git {found[0]}.{found[1]}"
    if found < _OLDEST_GIT:
        return Check("git", CheckState.FAIL, f"{text}; 2.31 or newer is needed", _install("git"))
    if found < _PINNING_GIT:
        detail = f"{text}; addresses of git hosts are checked but not pinned before 2.37"
        return Check("git", CheckState.WARN, detail, _install("git"))
    return Check("git", CheckState.OK, text)


def check_sandbox() -> Check:
    """Whether bubblewrap can make a sandbox, by making one."""
    problem = sandbox_problem()
    if problem is None:
        return Check("sandbox", CheckState.OK, output_of("bwrap", "--version") or "bubblewrap")
    detail = f"{problem}; agents run without isolation"
    return Check("sandbox", CheckState.WARN, detail, sandbox_remedy(root=os.geteuid() == 0))


def check_ripgrep() -> Check:
    """Whether searches are quick."""
    found = output_of("rg", "--version")
    if found:
        return Check("ripgrep", CheckState.OK, found.splitlines()[0])
    detail = "ripgrep is not installed; searches use a slower one in Python"
    return Check("ripgrep", CheckState.WARN, detail, _install("ripgrep"))


def check_home(home: Home) -> Check:
    """Whether the home can be used and its disk has room."""
    try:
        home.prepare()
        free_gb = shutil.disk_usage(home.path).free / 1e9
    except LocalError as error:
        return Check("home", CheckState.FAIL, str(error), "export MOORAGE_HOME=/a/directory/of/yours")
    detail = f"{home.path}, {free_gb:.1f} GB free"
    if free_gb < _LITTLE_DISK_GB:
        return Check("home", CheckState.WARN, detail, "free some space, or set MOORAGE_HOME to another disk")
    return Check("home", CheckState.OK, detail)


def check_port(port: int, running: StackStatus) -> Check:
    """Whether the API's port is free, or ours already."""
    if running.up:
        return Check("port", CheckState.OK, f"in use by this stack at {running.address}")
    try:
        with socket.create_server(("127.0.0.1", port)):
            return Check("port", CheckState.OK, f"{port} is free")
    except OSError as error:
        detail = f"{port} cannot be used ({os.strerror(error.errno or errno.EIO).lower()})"
        return Check("port", CheckState.FAIL, detail, f"./moorage up --port {port + 1}")


def check_postgres(env: Mapping[str, str]) -> Check:
    """Whether the Postgres that will be used can be."""
    if url := env.get("DATABASE_URL"):
        return _check_database(url)
    try:
        folder = binaries()
        disguise(folder / "postgres")
    except LocalError as error:
        return Check("postgres", CheckState.FAIL, str(error), "export DATABASE_URL=postgresql://user:password@host/db")
    version = output_of(str(folder / "postgres"), "--version") or "Postgres"
    return Check("postgres", CheckState.OK, f"embedded, {version}")


def _check_database(url: str) -> Check:
    try:
        with psycopg.connect(url, connect_timeout=int(_LIMIT_S)) as connection:
            version = connection.info.server_version // 10000
    except psycopg.Error as error:
        # The first line only: later ones may repeat the DSN.
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        remedy = "correct DATABASE_URL, or unset it to use the embedded Postgres"
        return Check("postgres", CheckState.FAIL, f"DATABASE_URL cannot be reached: {said}", remedy)
    return Check("postgres", CheckState.OK, f"DATABASE_URL, Postgres {version}")


def check_model(env: Mapping[str, str], *, up: bool = False) -> Check:
    """Which kind of model will answer, and whether a configured endpoint does; a stack that is up must hear of it."""
    restart = "; then ./moorage down, and run again" if up else ""
    hint = f"export GPT_OSS_URL=http://127.0.0.1:8000, or export LLM_API_KEY=...{restart}"
    if url := env.get("GPT_OSS_URL"):
        return _check_endpoint(
            url, env.get("LLM_API_KEY"), f"start that server, correct GPT_OSS_URL or unset it{restart}"
        )
    if env.get("LLM_API_KEY"):
        return Check("model", CheckState.OK, "LLM_API_KEY is set")
    return Check("model", CheckState.WARN, "no endpoint is set; the offline engine answers and writes no code", hint)


def _check_endpoint(url: str, key: str | None, remedy: str) -> Check:
    models = f"{url.rstrip('/').removesuffix('/v1')}/v1/models"
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.get(models, headers=headers, timeout=_LIMIT_S)
        names = [str(entry["id"]) for entry in answer.raise_for_status().json()["data"]]
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Check("model", CheckState.FAIL, f"GPT_OSS_URL does not answer /v1/models: {error}", remedy)
    except (ValueError, KeyError, TypeError):
        return Check("model", CheckState.FAIL, "GPT_OSS_URL answers /v1/models with something else", remedy)
    return Check("model", CheckState.OK, f"GPT_OSS_URL serves {', '.join(names) or 'no model'}")


def check_stack(home: Home, running: StackStatus) -> list[Check]:
    """Whether the stack is up, and each part of its `/health`."""
    if not running.up or running.address is None:
        return [Check("stack", CheckState.OK, "not running; it starts with the first run")]
    try:
        headers = {"Authorization": f"Bearer {home.token}"}
        answer = httpx.get(f"{running.address}/health", headers=headers, timeout=_LIMIT_S, trust_env=False)
        health = Health.model_validate_json(answer.content)
    except (httpx.HTTPError, ValidationError) as error:
        detail = f"{running.address}/health does not answer as it should: {type(error).__name__}"
        return [Check("stack", CheckState.FAIL, detail, f"read {home.logs}, then ./moorage down")]
    states = {
        PartState.OK: CheckState.OK,
        PartState.DEGRADED: CheckState.WARN,
        PartState.DOWN: CheckState.FAIL,
    }
    parts = [Check(f"stack: {name}", states[part.state], part.detail) for name, part in health.parts.items()]
    return [Check("stack", states[health.status], f"up at {running.address}"), *parts]


def check_settings(home: Home, running: StackStatus, env: Mapping[str, str]) -> list[Check]:
    """Whether a running stack has the model settings of this environment; nothing is said when it does."""
    names = ignored(home, env) if running.up else []
    return [Check("stack: settings", CheckState.WARN, advice(names), "./moorage down")] if names else []


def _install(package: str) -> str:
    return install_line(package, root=os.geteuid() == 0)
