"""Routes for the other services of the stack only."""

from fastapi import APIRouter, Depends

from services.chassis.errors import ServiceError
from services.orchestrator.api.state import Parts, service
from services.wire.base import WorkspaceId
from services.wire.errors import ErrorCode
from services.wire.hub import AgentAddress

router = APIRouter(prefix="/internal", dependencies=[Depends(service)], include_in_schema=False)


@router.post("/workspaces/{workspace_id}/agent")
async def wake_agent(workspace_id: str, parts: Parts) -> AgentAddress:
    """Where a workspace's agent is; it is started if need be."""
    row = await parts["workspaces"].get(WorkspaceId(workspace_id))
    if row is None:
        raise ServiceError(ErrorCode.NOT_FOUND, f"There is no workspace {workspace_id[:64]!r}.")
    ready = await parts["opening"].agent(row.id)
    seen = ready.observed
    return AgentAddress(address=seen.address, epoch=seen.epoch, run_no=row.run_no, busy=row.busy)
