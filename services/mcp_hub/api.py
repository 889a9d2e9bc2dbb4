"""The hub's HTTP routes beside MCP: mirrors and egress for the orchestrator, git for sandboxes, health."""

import time
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from starlette.routing import Route

from services.chassis.app import VERSION
from services.chassis.auth import require_secret
from services.chassis.errors import ServiceError
from services.mcp_hub import grants
from services.mcp_hub.audit import Audit
from services.mcp_hub.egress import Egress
from services.mcp_hub.git_gateway import GitCall, GitGateway
from services.mcp_hub.git_process import Git, GitFailedError
from services.mcp_hub.git_response import GitResponse
from services.mcp_hub.mcp_face import McpRoute
from services.mcp_hub.mirror import Mirrors
from services.mcp_hub.registry import Registry
from services.mcp_hub.settings import Settings
from services.wire.errors import ErrorCode
from services.wire.health import Health, Part, PartState
from services.wire.hub import EgressRequest, MirrorReply, MirrorRequest


def _settings(request: Request) -> Settings:
    settings: Settings = request.state.settings
    return settings


def _mirrors(request: Request) -> Mirrors:
    mirrors: Mirrors = request.state.mirrors
    return mirrors


def _egress(request: Request) -> Egress:
    egress: Egress = request.state.egress
    return egress


def _gateway(request: Request) -> GitGateway:
    gateway: GitGateway = request.state.gateway
    return gateway


def _only_services(request: Request) -> None:
    require_secret(request, _settings(request).service_secret.get_secret_value())


internal = APIRouter(prefix="/internal", dependencies=[Depends(_only_services)])
public = APIRouter()
# Every method: the SDK answers those that MCP does not have.
public.routes.append(Route("/ws/{workspace_id}/mcp", endpoint=McpRoute(), name="mcp"))


@internal.post("/mirrors")
async def fetch_mirror(body: MirrorRequest, mirrors: Annotated[Mirrors, Depends(_mirrors)]) -> MirrorReply:
    """Fetch a repository into its workspace's mirror."""
    return await mirrors.fetch(body)


@internal.delete("/mirrors/{workspace_id}", status_code=204)
async def remove_mirror(
    workspace_id: str, mirrors: Annotated[Mirrors, Depends(_mirrors)], egress: Annotated[Egress, Depends(_egress)]
) -> None:
    """Forget a deleted workspace: stop listening for its sandbox, and remove its mirror."""
    workspace = grants.parse_workspace(workspace_id)
    await egress.close(workspace)
    await mirrors.remove(workspace)


@internal.put("/egress/{workspace_id}", status_code=204)
async def open_egress(workspace_id: str, body: EgressRequest, egress: Annotated[Egress, Depends(_egress)]) -> None:
    """Listen for a sandbox's traffic."""
    await egress.listen(grants.parse_workspace(workspace_id), Path(body.socket), body.allow)


@internal.delete("/egress/{workspace_id}", status_code=204)
async def close_egress(workspace_id: str, egress: Annotated[Egress, Depends(_egress)]) -> None:
    """Stop listening for a sandbox's traffic."""
    await egress.close(grants.parse_workspace(workspace_id))


@public.get("/git/{workspace_id}.git/{path:path}")
@public.post("/git/{workspace_id}.git/{path:path}")
async def git(
    request: Request, workspace_id: str, path: str, gateway: Annotated[GitGateway, Depends(_gateway)]
) -> GitResponse:
    """Serve a git client with a grant for this workspace."""
    grant = grants.require(request, _settings(request).service_secret, workspace_id)
    call = GitCall(
        method=request.method,
        path=path,
        service=request.query_params.get("service"),
        protocol=request.headers.get("git-protocol", ""),
        encoding=request.headers.get("content-encoding", "").lower(),
        body=request.stream(),
    )
    return GitResponse(await gateway.answer(grant.workspace_id, call))


@public.get("/health")
async def health(request: Request) -> Health:
    """Tell the state of each part."""
    audit: Audit = request.state.audit
    registry: Registry = request.state.registry
    parts = {
        "mirror": await _mirror_part(request.state.git),
        "audit": audit.part(),
        "servers": _servers_part(registry),
        "egress": Part(state=PartState.OK, detail=f"Listening for {_egress(request).count} sandboxes."),
    }
    order = (PartState.OK, PartState.DEGRADED, PartState.DOWN)
    worst = max((part.state for part in parts.values()), key=order.index)
    return Health(status=worst, service="mcp_hub", version=VERSION, parts=parts)


@public.get("/ready", status_code=204)
async def ready(request: Request) -> Response:
    """Answer 204 once repositories can be fetched, 503 before."""
    part = await _mirror_part(request.state.git)
    if part.state is PartState.DOWN:
        raise ServiceError(ErrorCode.NOT_READY, part.detail)
    return Response(status_code=204)


async def _mirror_part(git: Git) -> Part:
    began = time.perf_counter()
    try:
        version = (await git.run("version", timeout_s=5.0)).text.removeprefix("git version ")
    except (ServiceError, OSError, TimeoutError, GitFailedError) as error:
        return Part(state=PartState.DOWN, detail=f"git does not run ({error}); install git 2.31 or newer.")
    ms = round((time.perf_counter() - began) * 1000, 1)
    return Part(state=PartState.OK, detail=f"git {version}.", latency_ms=ms, facts={"git": version})


def _servers_part(registry: Registry) -> Part:
    tools = len(registry.items())
    detail = f"{tools} tools of {', '.join(registry.servers)}."
    return Part(state=PartState.OK, detail=detail, facts={"tools": tools, "servers": list(registry.servers)})
