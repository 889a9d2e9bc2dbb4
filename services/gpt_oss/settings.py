"""Settings of the model service. Knows no rule of the offline engine."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.chassis.settings import ServiceSettings


class Settings(ServiceSettings):
    """Read from `GPT_OSS_*`; on a laptop the stack binds it to a Unix socket with `GPT_OSS_UDS`."""

    model_config = SettingsConfigDict(env_prefix="GPT_OSS_")

    port: int = Field(default=8000, ge=0, le=65535)
    """Port to bind when no socket is given."""

    body_limit: int = Field(default=32 * 1024 * 1024, ge=1024)
    """Largest request body in bytes; a conversation with its tool results travels whole in every request."""
