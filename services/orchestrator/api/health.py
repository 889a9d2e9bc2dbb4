"""`/health` and `/ready`: every part by name, with its state, its latency and why it is what it is."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from services.chassis.app import VERSION
from services.chassis.errors import ServiceError
from services.orchestrator.api.state import Parts, State
from services.wire.health import Health, Part, PartState

router = APIRouter(tags=["health"])

PART_LIMIT_S = 3.0


@router.get("/health")
async def health(parts: Parts) -> Health:
    """The state of every part."""
    checks: dict[str, Callable[[State], Awaitable[Part]]] = {
        "database": _database,
        "model": _model,
        "hub": _hub,
        "runtime": _runtime,
        "queue": _queue,
    }
    async with asyncio.TaskGroup() as group:
        asked = {name: group.create_task(_limited(check, parts), name=name) for name, check in checks.items()}
    found = {name: task.result() for name, task in asked.items()}
    states = [part.state for part in found.values()]
    worst = next((state for state in (PartState.DOWN, PartState.DEGRADED) if state in states), PartState.OK)
    return Health(status=worst, service="orchestrator", version=VERSION, parts=found)


@router.get("/ready", response_model=Health)
async def ready(parts: Parts) -> Response:
    """200 when requests can be accepted and worked on, else 503."""
    found = {"database": await _limited(_database, parts), "hub": await _limited(_hub, parts)}
    down = any(part.state is PartState.DOWN for part in found.values())
    state = PartState.DOWN if down else PartState.OK
    body = Health(status=state, service="orchestrator", version=VERSION, parts=found)
    status = HTTPStatus.SERVICE_UNAVAILABLE if down else HTTPStatus.OK
    return JSONResponse(body.model_dump(mode="json"), status_code=status)


async def _limited(check: Callable[[State], Awaitable[Part]], parts: State) -> Part:
    began = time.perf_counter()
    try:
        async with asyncio.timeout(PART_LIMIT_S):
            part = await check(parts)
    except ServiceError as error:
        part = Part(state=PartState.DOWN, detail=error.message)
    except TimeoutError:
        part = Part(state=PartState.DOWN, detail=f"no answer within {PART_LIMIT_S:.0f} s")
    return part.model_copy(update={"latency_ms": round((time.perf_counter() - began) * 1000, 1)})


async def _database(parts: State) -> Part:
    await parts["tasks"].queue()
    return Part(state=PartState.OK, detail="Postgres answers")


async def _queue(parts: State) -> Part:
    depth = await parts["tasks"].queue()
    return Part(
        state=PartState.OK,
        detail=f"{depth.running} running, {depth.queued} queued",
        facts={"running": depth.running, "queued": depth.queued},
    )


async def _model(parts: State) -> Part:
    identity = await parts["model"].identify()
    return Part(
        state=PartState.OK,
        detail=f"{identity.name} at {identity.endpoint}: {identity.why}",
        facts={"name": identity.name, "endpoint": identity.endpoint, "wire": identity.wire, "why": identity.why},
    )


async def _hub(parts: State) -> Part:
    await parts["hub"].answers()
    return Part(state=PartState.OK, detail="the hub answers")


async def _runtime(parts: State) -> Part:
    runtime = parts["lifecycle"].runtime
    found = runtime.capabilities()
    return Part(
        state=PartState.OK if found.network else PartState.DEGRADED,
        detail=f"{runtime.name}, isolation {found.isolation}: {found.why}",
        facts={"runtime": runtime.name, "isolation": found.isolation, "network": found.network},
    )
