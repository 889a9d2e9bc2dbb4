"""`POST /orchestrate`: accept a request, then wait for it, stream it, or let it run."""

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header
from fastapi.responses import JSONResponse, Response

from services.chassis.errors import ServiceError
from services.orchestrator.api.results import read_result
from services.orchestrator.api.sse import as_sse, sse_response
from services.orchestrator.api.state import Parts, State, caller
from services.orchestrator.domain import BadRepository, Repository, parse_repo_url, scratch_workspace_id
from services.orchestrator.store.tasks import TaskRow
from services.wire.errors import STATUS, ErrorBody, ErrorCode
from services.wire.tasks import OrchestrateRequest, TaskResult

router = APIRouter(dependencies=[Depends(caller)], tags=["tasks"])

Mode = Literal["wait", "async", "stream"]


@router.post(
    "/orchestrate",
    response_model=TaskResult,
    responses={202: {"model": TaskResult}, 422: {"model": ErrorBody}, 502: {"model": TaskResult}},
)
async def orchestrate(
    body: OrchestrateRequest,
    parts: Parts,
    accept: Annotated[str, Header()] = "",
    prefer: Annotated[str, Header()] = "",
) -> Response:
    """Run a request on a repository."""
    task = await accept_request(body, parts)
    mode = chosen_mode(body.mode, accept, prefer)
    if mode == "stream":
        return sse_response(_stream(task, parts))
    if mode == "async":
        headers = {"Location": f"/tasks/{task.id}"}
        return _json(await read_result(parts["tasks"], task), HTTPStatus.ACCEPTED, headers)
    result = await read_result(parts["tasks"], await parts["tasks"].ended(task.id))
    return _json(result, STATUS[result.error.code] if result.error else HTTPStatus.OK)


async def accept_request(body: OrchestrateRequest, parts: State) -> TaskRow:
    """Store a request as a queued task.

    Raises:
        ServiceError: 422 when it names no usable repository.
    """
    if body.repo_url is None:
        workspace_id = scratch_workspace_id()
        if body.ref is not None:
            raise ServiceError(ErrorCode.INVALID_FIELD, "Field 'ref': there is no repo_url it could belong to.")
        await parts["workspaces"].upsert(workspace_id, None)
        return await parts["tasks"].create(workspace_id, body)
    repository = usable_repository(body.repo_url, local=parts["local_repositories"])
    if body.ref is not None:
        check_ref(body.ref)
    await parts["workspaces"].upsert(repository.workspace_id, repository)
    # What is stored has the parsed form: a URL with a credential has been refused by now.
    return await parts["tasks"].create(repository.workspace_id, body)


def usable_repository(text: str, *, local: bool) -> Repository:
    """Return the repository a request names.

    Raises:
        ServiceError: 422, never repeating a credential.
    """
    try:
        repository = parse_repo_url(text)
    except BadRepository as error:
        raise ServiceError(ErrorCode.INVALID_FIELD, f"Field 'repo_url': {error}.") from error
    if repository.kind == "local" and not local:
        raise ServiceError(ErrorCode.INVALID_FIELD, "Field 'repo_url': local paths work on a laptop stack only.")
    return repository


def check_ref(ref: str) -> None:
    """Refuse what can be no ref, by the rules of git-check-ref-format(1).

    Raises:
        ServiceError: 422.
    """
    bad = ref.startswith(("-", "/", ".")) or ref.endswith(("/", ".", ".lock")) or ".." in ref or "@{" in ref
    if bad or any(character in " ~^:?*[\\\x7f" or ord(character) < 32 for character in ref):
        raise ServiceError(ErrorCode.INVALID_FIELD, "Field 'ref': not the name of a branch, tag or commit.")


def chosen_mode(mode: Mode, accept: str, prefer: str) -> Mode:
    """The body's mode, unless the headers ask for another."""
    if mode != "wait":
        return mode
    if "text/event-stream" in accept:
        return "stream"
    return "async" if "respond-async" in prefer else "wait"


async def _stream(task: TaskRow, parts: State) -> AsyncIterator[dict[str, Any]]:
    async for event in parts["tasks"].follow(task.id):
        yield as_sse(event)
    result = await read_result(parts["tasks"], await parts["tasks"].ended(task.id))
    yield {"event": "result", "data": result.model_dump_json(by_alias=True)}


def _json(result: TaskResult, status: HTTPStatus, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(result.model_dump(mode="json", by_alias=True), status_code=status, headers=headers)
