"""The settings every service has. Knows no service's own ones."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


CommaList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""Texts, written with commas between them."""

AbsolutePath = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]
"""A path that means the same wherever it is used; `~` is the home of whoever runs the service."""


class ServiceSettings(BaseSettings):
    """Where a service listens and how it logs; read once, from the environment, in the composition root."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True, frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    """Address to bind."""

    port: int = Field(default=8080, ge=0, le=65535)
    """Port to bind."""

    uds: Path | None = None
    """Unix socket to bind instead of host and port."""

    fd: int | None = None
    """Inherited listening socket to use instead of binding anything."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe log line that is written."""
