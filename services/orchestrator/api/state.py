"""What the routes are given: the objects `main` built, and the rule that lets a caller in. Knows no route."""

from typing import Annotated, TypedDict, cast

from fastapi import Depends, Request

from services.chassis.auth import bearer, from_own_loopback, require_secret
from services.orchestrator.hub import Hub
from services.orchestrator.model.turn import Model
from services.orchestrator.reason.opening import Opening
from services.orchestrator.runtimes.lifecycle import Lifecycle
from services.orchestrator.store.tasks import TaskStore
from services.orchestrator.store.workspaces import WorkspaceStore


class State(TypedDict):
    """The lifespan's state."""

    tasks: TaskStore
    workspaces: WorkspaceStore
    lifecycle: Lifecycle
    opening: Opening
    hub: Hub
    model: Model
    api_token: str
    service_secret: str
    local_repositories: bool


def state(request: Request) -> State:
    """Return the lifespan's state."""
    return cast(State, request.state._state)


Parts = Annotated[State, Depends(state)]


def caller(request: Request, parts: Parts) -> None:
    """Let in who has the token, or, without one, our own account on this machine's loopback while no agent is on it.

    Raises:
        ServiceError: 401.
    """
    confined = parts["lifecycle"].runtime.capabilities().network
    if bearer(request) is not None or not (confined and from_own_loopback(request)):
        require_secret(request, parts["api_token"])


def service(request: Request, parts: Parts) -> None:
    """Let in only the other services of this stack.

    Raises:
        ServiceError: 401.
    """
    require_secret(request, parts["service_secret"])
