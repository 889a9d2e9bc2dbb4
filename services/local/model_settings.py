"""Which model settings a stack was started with, as digests that give nothing away. Knows no stack."""

import hashlib
import hmac
import json
from collections.abc import Mapping

from services.local.home import Home

_VARIABLES = ("GPT_OSS_URL", "LLM_API_KEY", "ORCHESTRATOR_MODEL")


def digests(home: Home, env: Mapping[str, str]) -> dict[str, str]:
    """Return a digest of each model setting in an environment; without the home's secret it cannot be guessed."""
    key = home.service_secret.encode()
    return {
        name: hmac.new(key, f"{name}={env[name]}".encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()
        for name in _VARIABLES
        if env.get(name)
    }


def ignored(home: Home, env: Mapping[str, str]) -> list[str]:
    """Return the model settings of an environment which the home's running stack was not started with.

    One that is merely absent is none: the stack stays warm for a shell that has not set it.
    """
    try:
        # By hand, as importing the ledger's model takes longer than the request that follows.
        started_with = json.loads(home.stack_file.read_bytes())["model"]
        return [name for name, digest in digests(home, env).items() if started_with.get(name) != digest]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return []


def advice(names: list[str]) -> str:
    """Return what to say of ignored settings."""
    return (
        "the stack was started with other model settings; "
        f"./moorage down first, then run again to use {' and '.join(names)}"
    )
