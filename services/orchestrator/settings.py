"""The orchestrator's settings. Knows no part that uses them."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from services.chassis.settings import AbsolutePath, CommaList, ServiceSettings

PACKAGE_REGISTRIES = (
    "pypi.org",
    "files.pythonhosted.org",
    "registry.npmjs.org",
    "registry.yarnpkg.com",
    "index.crates.io",
    "static.crates.io",
    "crates.io",
    "proxy.golang.org",
    "sum.golang.org",
    "rubygems.org",
    "repo.maven.apache.org",
    "deb.debian.org",
)


class Settings(ServiceSettings):
    """Read once in `main`."""

    model_config = SettingsConfigDict(env_prefix="ORCHESTRATOR_")

    port: int = Field(default=8080, ge=0, le=65535)
    """Port of the public API."""

    database_url: SecretStr = Field(default=SecretStr(""), validation_alias="DATABASE_URL")
    """Postgres to use; on a laptop an embedded one is started when this is empty."""

    gpt_oss_url: str = Field(default="", validation_alias="GPT_OSS_URL")
    """OpenAI-compatible endpoint, e.g. `http://127.0.0.1:8000/v1`; empty: LLM_API_KEY's service, else offline."""

    llm_api_key: SecretStr = Field(default=SecretStr(""), validation_alias="LLM_API_KEY")
    """Key for the model endpoint; alone it selects the hosted service its prefix belongs to."""

    model: str = ""
    """Model name to ask for; empty takes the endpoint's own first one."""

    model_timeout_s: float = 600.0
    """Longest wait for one model turn, in seconds."""

    offline_engine: str = "unix:/run/moorage/engine.sock"
    """Address of the offline engine, used when no model endpoint is configured."""

    hub: str = "http://127.0.0.1:8090"
    """Address of the MCP hub."""

    service_secret: SecretStr = Field(default=SecretStr(""), validation_alias="MOORAGE_SERVICE_SECRET")
    """Secret shared by the services of one stack; also signs grants."""

    api_token: SecretStr = Field(default=SecretStr(""), validation_alias="MOORAGE_API_TOKEN")
    """Bearer token of the public API; not needed on loopback while agents have a network namespace."""

    state_dir: AbsolutePath = Path("~/.moorage")
    """Folder of the work trees and agent logs."""

    run_dir: AbsolutePath = Path("~/.moorage/run")
    """Folder of Unix sockets; its path must be short."""

    runtime: Literal["process"] = "process"
    """Where agents run."""

    egress_allow: CommaList = PACKAGE_REGISTRIES
    """Hosts a sandbox may reach, comma-separated globs; package registries by default."""

    max_runs: int = Field(default=8, ge=1, le=256)
    """Most runs at once in this process."""

    lease_s: float = Field(default=30.0, gt=0)
    """Seconds a run may be silent before another replica takes it over."""

    agent_idle_s: float = Field(default=900.0, gt=0)
    """Seconds after its last use at which an idle agent is stopped."""

    home_mark: str = Field(default="", validation_alias="MOORAGE_HOME_MARK")
    """Set by the laptop stack: names its home in the environment of every process, so that none is left behind."""

    def missing(self) -> list[str]:
        """Names of the settings without which nothing can work."""
        needed = {"DATABASE_URL": self.database_url, "MOORAGE_SERVICE_SECRET": self.service_secret}
        return [name for name, value in needed.items() if not value.get_secret_value()]

    @property
    def child_mark(self) -> dict[str, str]:
        """The mark as environment variables for a child process."""
        return {"MOORAGE_HOME_MARK": self.home_mark} if self.home_mark else {}
