"""`/containers`: what runs where, its logs, stop and delete; and grants for a workspace's tools."""

import re
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import PlainTextResponse, Response

from services.chassis.errors import ServiceError
from services.orchestrator.api.state import Parts, caller
from services.orchestrator.store.workspaces import WorkspaceRow
from services.wire.base import WORKSPACE_PATTERN, WorkspaceId
from services.wire.containers import Container, ContainerPage, GrantReply
from services.wire.errors import ErrorCode
from services.wire.hub import Grant

router = APIRouter(dependencies=[Depends(caller)], tags=["containers"])

GRANT_S = 8 * 3600
"""Seconds an outside client's grant lasts: a working day."""


def named(workspace_id: str) -> WorkspaceId:
    """Return the id in a route.

    Raises:
        ServiceError: 404 when it can be none.
    """
    if not re.fullmatch(WORKSPACE_PATTERN, workspace_id):
        message = f"There is no container {workspace_id[:64]!r}; GET /containers lists them."
        raise ServiceError(ErrorCode.NOT_FOUND, message)
    return WorkspaceId(workspace_id)


Named = Annotated[WorkspaceId, Depends(named)]


@router.get("/containers")
async def list_containers(parts: Parts) -> ContainerPage:
    """Every agent container."""
    return ContainerPage(containers=[container(row) for row in await parts["lifecycle"].list()])


@router.get("/containers/{workspace_id}")
async def read_container(workspace_id: Named, parts: Parts) -> Container:
    """One agent container."""
    return container(await parts["lifecycle"].get(workspace_id))


@router.get("/containers/{workspace_id}/logs", response_class=PlainTextResponse)
async def read_logs(
    workspace_id: Named, parts: Parts, tail: Annotated[int, Query(ge=1, le=10_000)] = 200
) -> PlainTextResponse:
    """The last lines an agent logged."""
    row = await parts["lifecycle"].get(workspace_id)
    lines = await parts["lifecycle"].runtime.logs(row.id, tail)
    return PlainTextResponse("".join(f"{line}\n" for line in lines))


@router.post("/containers/{workspace_id}/stop")
async def stop_container(workspace_id: Named, parts: Parts) -> Container:
    """Stop an agent; its work tree stays."""
    return container(await parts["lifecycle"].stop(workspace_id))


@router.delete("/containers/{workspace_id}", status_code=HTTPStatus.NO_CONTENT, response_class=Response)
async def delete_container(workspace_id: Named, parts: Parts) -> Response:
    """Delete an agent, its work tree and its mirror; the tasks' logs and patches stay."""
    await parts["lifecycle"].delete(workspace_id)
    await parts["hub"].forget(workspace_id)
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.post("/workspaces/{workspace_id}/grant")
async def make_grant(workspace_id: Named, parts: Parts) -> GrantReply:
    """An MCP endpoint and a grant for it, for any MCP client."""
    row = await parts["workspaces"].get(workspace_id)
    if row is None:
        raise ServiceError(ErrorCode.NOT_FOUND, f"There is no workspace {workspace_id}; GET /containers lists them.")
    hub = parts["hub"]
    return GrantReply(url=hub.endpoint(row.id), token=hub.grant(Grant(workspace_id=row.id), GRANT_S), expires_s=GRANT_S)


def container(row: WorkspaceRow) -> Container:
    """Return a container as callers see it."""
    return Container(
        id=row.id,
        workspace_id=row.id,
        repository=row.canonical,
        state=row.state,
        runtime=row.runtime,
        isolation=row.isolation,
        epoch=row.epoch,
        started_at=row.started_at,
        last_used_at=row.last_used_at,
        queued=row.queued,
    )
