"""Which endpoint serves the model, and why. Explicit setting, then a hosted key, then the offline engine."""

from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from services.orchestrator.settings import Settings


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible endpoint. `address` is for `chassis.http.connect`, `path` the API's prefix below it.

    `model` None means: the first one it lists.
    """

    address: str
    path: str
    key: str
    model: str | None
    why: str
    offline: bool = False
    limit: str = "max_tokens"
    """The request field that bounds a turn's tokens; OpenAI's own newer models refuse the usual one."""

    @property
    def shown(self) -> str:
        """The endpoint as people are told it, without credentials."""
        return "offline engine" if self.offline else f"{self.address}{self.path}"


@dataclass(frozen=True, slots=True)
class Hosted:
    """A hosted service that serves GPT-OSS, recognised by the prefix of its keys."""

    prefix: str
    name: str
    address: str
    path: str
    model: str | None
    limit: str = "max_tokens"


HOSTED = (
    Hosted("sk-or-", "OpenRouter", "https://openrouter.ai", "/api/v1", "openai/gpt-oss-120b"),
    Hosted("gsk_", "Groq", "https://api.groq.com", "/openai/v1", "openai/gpt-oss-120b"),
    Hosted("", "OpenAI", "https://api.openai.com", "/v1", "gpt-5-mini", "max_completion_tokens"),
)
"""Base URLs and model names as these services document them; the last one takes every other key."""


def choose(settings: Settings) -> Endpoint:
    """Return the endpoint the settings mean.

    Raises:
        ValueError: GPT_OSS_URL is no URL.
    """
    key = settings.llm_api_key.get_secret_value()
    model = settings.model or None
    if settings.gpt_oss_url:
        address, path = split(settings.gpt_oss_url)
        return Endpoint(address, path, key, model, "GPT_OSS_URL is set")
    if key:
        hosted = next(service for service in HOSTED if key.startswith(service.prefix))
        why = f"LLM_API_KEY is set and GPT_OSS_URL is not: {hosted.name}"
        return Endpoint(hosted.address, hosted.path, key, model or hosted.model, why, limit=hosted.limit)
    why = "neither GPT_OSS_URL nor LLM_API_KEY is set: the built-in engine of fixed rules, which writes no code"
    return Endpoint(settings.offline_engine, "/v1", "", model, why, offline=True)


def split(url: str) -> tuple[str, str]:
    """Return address and path of an endpoint; a URL without a path gets `/v1`, as every compatible server has.

    Raises:
        ValueError: it is neither `http(s)://host` nor `unix:/path`.
    """
    if url.startswith("unix:"):
        return "unix:" + url.removeprefix("unix:").removeprefix("//"), "/v1"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("GPT_OSS_URL must look like http://host:8000/v1 or unix:/path/to.sock")
    if parts.username or parts.password:
        raise ValueError("GPT_OSS_URL may not contain credentials; set LLM_API_KEY")
    return urlunsplit((parts.scheme, parts.netloc, "", "", "")), parts.path.rstrip("/") or "/v1"
