"""The hub's settings, and the environment its git inherits. Knows no part that uses them."""

import os
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from services.chassis.settings import AbsolutePath, CommaList, ServiceSettings


class Settings(ServiceSettings):
    """Read once in `main`."""

    model_config = SettingsConfigDict(env_prefix="MCP_HUB_")

    port: int = Field(default=8090, ge=0, le=65535)
    """Port of the hub."""

    service_secret: SecretStr = Field(default=SecretStr(""), validation_alias="MOORAGE_SERVICE_SECRET")
    """Secret shared by the services of one stack; also signs grants."""

    state_dir: AbsolutePath = Path("~/.moorage/hub")
    """Folder of the repository mirrors."""

    audit_file: AbsolutePath = Path("~/.moorage/logs/audit.jsonl")
    """File of the audit lines; 4 older files of 16 MB are kept beside it."""

    orchestrator: str = "http://127.0.0.1:8080"
    """Address of the orchestrator, `http://host:port` or `unix:/path`; it knows where agents are."""

    private_hosts: CommaList = ()
    """Git hosts allowed although their address is private: comma-separated `host` or `host:port` globs."""

    allowed_hosts: CommaList = ("localhost", "localhost:*", "127.0.0.1:*", "[::1]:*")
    """`Host` headers the MCP endpoint answers to, comma-separated; a port may be `*`."""

    call_timeout_s: float = Field(default=150.0, gt=0)
    """Longest tool call, in seconds, unless the call itself names a longer time."""

    output_limit: int = Field(default=60_000, ge=1_000)
    """Longest text of a tool result, in characters; the middle of a longer one is cut."""

    fetch_timeout_s: float = Field(default=600.0, gt=0)
    """Longest fetch of a repository, in seconds."""


_OURS = ("MCP_HUB_", "MOORAGE_", "ORCHESTRATOR_", "GPT_OSS_", "LLM_API_KEY", "DATABASE_URL")
_GIT_PLACES = frozenset(
    {
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_PREFIX",
        "GIT_COMMON_DIR",
        "GIT_NAMESPACE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_CONFIG_PARAMETERS",
        "GIT_CONFIG",
        "GIT_QUARANTINE_PATH",
        "GIT_SHALLOW_FILE",
        "GIT_GRAFT_FILE",
        "GIT_REPLACE_REF_BASE",
        "GIT_INTERNAL_SUPER_PREFIX",
        "GIT_IMPLICIT_WORK_TREE",
        "GIT_EXTERNAL_DIFF",
        "GIT_TRACE_REDACT",
    }
)


def user_environment() -> dict[str, str]:
    """Return the user's environment for git: home, agents and helpers stay, our secrets and git's places do not."""
    inherited = dict(os.environ)  # noqa: TID251 -- git must find the user's own credentials
    return {k: v for k, v in inherited.items() if not k.startswith(_OURS) and k not in _GIT_PLACES}
