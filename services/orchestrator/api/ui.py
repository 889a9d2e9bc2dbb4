"""The plain page at `/`: a client of the public API, two static files, no build."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

router = APIRouter(include_in_schema=False)

UI = Path(__file__).parents[1] / "ui"
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


@router.get("/")
async def page() -> FileResponse:
    """The page."""
    return FileResponse(UI / "index.html", headers=_HEADERS)


@router.get("/ui/app.js")
async def script() -> FileResponse:
    """Its script."""
    return FileResponse(UI / "app.js", headers=_HEADERS)


@router.get("/ui/app.css")
async def style() -> FileResponse:
    """Its style."""
    return FileResponse(UI / "app.css", headers=_HEADERS)
