"""The plain pages at `/` and `/docs`: clients of the public API, static files, no build, nothing from elsewhere."""

from http import HTTPStatus
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response

from services.chassis.errors import ServiceError
from services.wire.errors import ErrorCode

router = APIRouter(include_in_schema=False)

UI = Path(__file__).parents[1] / "ui"
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
}


_FILES = {"": "index.html", "docs": "docs.html", **{f"ui/{name}": name for name in ("app.js", "app.css", "docs.js")}}


@router.api_route("/", methods=["GET", "HEAD"])
@router.api_route("/docs", methods=["GET", "HEAD"])
@router.api_route("/ui/{name}", methods=["GET", "HEAD"])
async def page(request: Request) -> FileResponse:
    """One of the pages' files."""
    name = _FILES.get(request.url.path.strip("/"))
    if name is None:
        raise ServiceError(ErrorCode.NOT_FOUND, f"No route {request.url.path}; see /docs.")
    return FileResponse(UI / name, headers=_HEADERS)


@router.get("/favicon.ico")
async def icon() -> Response:
    """There is none, and that is no error."""
    return Response(status_code=HTTPStatus.NO_CONTENT)
