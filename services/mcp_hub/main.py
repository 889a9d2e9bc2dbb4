"""The hub's composition root: builds every part once and serves them."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, TypedDict

from fastapi import FastAPI

from services.chassis.app import create_app, serve
from services.chassis.http import connect
from services.mcp_hub import api
from services.mcp_hub.agents import Agents
from services.mcp_hub.audit import Audit
from services.mcp_hub.egress import Egress
from services.mcp_hub.git_gateway import GitGateway
from services.mcp_hub.git_process import Git
from services.mcp_hub.mcp_face import BODY_LIMIT, McpFace
from services.mcp_hub.mirror import Mirrors
from services.mcp_hub.policy import Policy
from services.mcp_hub.proxy import Proxy
from services.mcp_hub.registry import Registry
from services.mcp_hub.remotes import Remotes
from services.mcp_hub.servers import filesystem, git, shell
from services.mcp_hub.settings import Settings, user_environment
from services.mcp_hub.tool_calls import ToolCalls


class Parts(TypedDict):
    """What the routes need, by name."""

    settings: Settings
    git: Git
    audit: Audit
    registry: Registry
    mirrors: Mirrors
    gateway: GitGateway
    egress: Egress
    mcp_face: McpFace


def create(settings: Settings) -> FastAPI:
    """Return the hub's app; its parts live as long as its lifespan."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        secret = settings.service_secret.get_secret_value()
        async with connect(settings.orchestrator, token=secret) as orchestrator, contextlib.AsyncExitStack() as stack:
            agents = Agents(orchestrator)
            stack.push_async_callback(agents.close)
            parts = _build(settings, agents)
            await stack.enter_async_context(parts["audit"].running())
            await stack.enter_async_context(parts["egress"].running())
            await stack.enter_async_context(parts["mcp_face"].running())
            yield parts

    return create_app("moorage-mcp-hub", lifespan, [api.internal, api.public], body_limit=BODY_LIMIT)


def _build(settings: Settings, agents: Agents) -> Parts:
    audit = Audit(settings.audit_file)
    processes = Git(user_environment())
    remotes = Remotes(processes, settings.private_hosts)
    mirrors = Mirrors(settings.state_dir, processes, remotes, audit, fetch_timeout_s=settings.fetch_timeout_s)
    gateway = GitGateway(mirrors, processes, audit, timeout_s=settings.fetch_timeout_s)
    registry = Registry({"filesystem": filesystem.TOOLS, "git": git.TOOLS, "shell": shell.TOOLS})
    policy = Policy(call_timeout_s=settings.call_timeout_s, output_limit=settings.output_limit)
    face = McpFace(
        registry,
        policy,
        ToolCalls(agents, policy, audit),
        service_secret=settings.service_secret,
        allowed_hosts=settings.allowed_hosts,
    )
    return Parts(
        settings=settings,
        git=processes,
        audit=audit,
        registry=registry,
        mirrors=mirrors,
        gateway=gateway,
        egress=Egress(Proxy(gateway, audit, settings.private_hosts)),
        mcp_face=face,
    )


def main() -> None:
    """Serve until told to stop."""
    settings = Settings()
    if not settings.service_secret.get_secret_value():
        raise SystemExit("MOORAGE_SERVICE_SECRET is empty; set it to the secret that all services of the stack share.")
    serve(create(settings), settings)


if __name__ == "__main__":
    main()
