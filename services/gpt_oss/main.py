"""Composition root of the model service: `python -m services.gpt_oss.main`. Knows every part, does nothing itself."""

from fastapi import FastAPI

from services.chassis.app import serve
from services.gpt_oss.offline.openai_api import create_offline_app
from services.gpt_oss.settings import Settings


def build(settings: Settings) -> FastAPI:
    """Return the app that `settings` describe."""
    return create_offline_app(body_limit=settings.body_limit)


def main() -> None:
    """Serve until a signal."""
    settings = Settings()
    serve(build(settings), settings)


if __name__ == "__main__":
    main()
