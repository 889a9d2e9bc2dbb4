"""The agent's settings. Knows no other service's."""

from pathlib import Path

from pydantic import AliasChoices, Field
from pydantic_settings import SettingsConfigDict

from services.chassis.settings import ServiceSettings

TOOL_PATH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"


class Settings(ServiceSettings):
    """Read once, in `main`."""

    model_config = SettingsConfigDict(env_prefix="AGENT_")

    workspace_id: str = ""
    """Workspace whose work tree this is; answered in /health, so that a caller notices a mix-up."""

    root: Path = Path("/workspace")
    """Folder of the work tree; no path of a call leads outside it."""

    home: Path = Path("/home/agent")
    """$HOME of the commands that run here; outside the work tree."""

    path: str = Field(default=TOOL_PATH, validation_alias=AliasChoices("AGENT_PATH", "PATH"))
    """$PATH of the commands that run here."""

    home_mark: str = Field(default="", validation_alias="MOORAGE_HOME_MARK")
    """Mark of the stack's processes, passed on to commands, so that a stack finds what belongs to it."""

    egress_socket: Path | None = None
    """Unix socket of the egress proxy; without it commands and git use no proxy."""

    proxy_port: int = Field(default=3128, ge=0, le=65535)
    """Loopback port inside the sandbox that is relayed to the egress socket; 0 takes any free one."""

    output_head: int = Field(default=8_000, ge=0)
    """Bytes kept of the beginning of a command's output."""

    output_tail: int = Field(default=24_000, ge=1)
    """Bytes kept of the end of a command's output."""

    spill_bytes: int = Field(default=20_000_000, ge=0)
    """Largest file of a command's full output, in .moorage/out."""

    spill_files: int = Field(default=50, ge=1)
    """Full outputs kept; the oldest goes first."""

    max_commands: int = Field(default=32, ge=1)
    """Commands that may run at the same time."""

    text_bytes: int = Field(default=60_000, ge=100)
    """Bytes of file or git text in one answer."""

    list_entries: int = Field(default=2_000, ge=1)
    """Entries in one listing."""

    read_file_bytes: int = Field(default=32_000_000, ge=1)
    """Largest file that is read or patched."""

    patch_bytes: int = Field(default=32 * 1024 * 1024, ge=1)
    """Largest patch /changes answers with."""

    git_timeout: float = Field(default=120.0, gt=0)
    """Seconds a git command on the work tree may take."""

    fetch_timeout: float = Field(default=900.0, gt=0)
    """Seconds a fetch from the remote may take."""

    search_timeout: float = Field(default=30.0, gt=0)
    """Seconds a search may take."""

    die_with_parent: bool = False
    """Stop when the process that started this one ends; for a runtime without bubblewrap."""

    parent_pid: int | None = None
    """Process id of that parent, so that its end before our first step is noticed too."""
