"""Runs: an older one is refused, and what it still does is ended before a newer one acts."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path

import pytest

from services.agent.fence import Fence
from services.chassis.errors import ServiceError
from tests.agent.support import Client


async def refused(act: Coroutine[None, None, None]) -> ServiceError:
    with pytest.raises(ServiceError) as error:
        await act
    return error.value


async def until(path: Path) -> None:
    async with asyncio.timeout(5):
        while not path.exists():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/open", {"remote": None, "commit": None}),
        ("POST", "/exec", {"command": "touch acted"}),
        ("POST", "/files/write", {"path": "acted", "content": ""}),
        ("POST", "/patch", {"patch": "*** Begin Patch\n*** Add File: acted\n+x\n*** End Patch"}),
        ("GET", "/changes", None),
    ],
)
async def test_a_lower_run_is_refused_by_every_call_that_acts(
    agent: Client, method: str, path: str, body: dict[str, str] | None
) -> None:
    await agent.post("/exec", run=7, command="true")
    response = await agent.raw(method, path, body, run=6)

    assert response.status_code == 409
    assert response.json()["error"]["code"] == "stale_run"
    assert not (agent.root / "acted").exists()
    assert (await agent.raw("GET", "/health")).json()["run_no"] == 7


async def test_the_same_run_and_clients_outside_of_runs_go_on(agent: Client) -> None:
    await agent.post("/exec", run=7, command="true")

    assert (await agent.post("/exec", run=7, command="echo same"))["output"] == "same\n"
    assert (await agent.post("/exec", command="echo outside"))["output"] == "outside\n"
    assert (await agent.raw("GET", "/health")).json()["run_no"] == 7


@pytest.mark.parametrize("header", ["-1", "x", "1.5", ""])
async def test_a_header_that_is_no_run_is_refused(agent: Client, header: str) -> None:
    response = await agent.raw("POST", "/exec", {"command": "touch acted"}, run=header)

    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_field")
    assert not (agent.root / "acted").exists()


async def test_a_newer_run_ends_the_command_of_an_older_one_before_it_acts(agent: Client) -> None:
    async with asyncio.TaskGroup() as group:
        old = group.create_task(
            agent.raw("POST", "/exec", {"command": "touch begun; while true; do date > beat; sleep 0.01; done"}, run=1)
        )
        await until(agent.root / "begun")
        newer = await agent.post("/exec", run=2, command="rm -f beat; sleep 0.1; ls")

    assert newer["output"] == "begun\n"
    assert old.result().json()["error"]["code"] == "stale_run"


async def test_a_newer_run_waits_for_what_cannot_be_ended() -> None:
    fence = Fence()
    order = []
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def older() -> None:
        async with fence.hold(1, interruptible=False):
            inside.set()
            await go_on.wait()
            order.append("older")

    async def newer() -> None:
        async with fence.hold(2):
            order.append("newer")

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(older())
        await inside.wait()
        second = group.create_task(newer())
        while fence.highest != 2:
            await asyncio.sleep(0)
        assert not second.done()
        go_on.set()

    assert order == ["older", "newer"]


async def test_a_stopped_fence_lets_nobody_in_and_ends_who_is_in() -> None:
    fence = Fence()
    inside = asyncio.Event()

    async def act() -> None:
        async with fence.hold(0):
            inside.set()
            await asyncio.Event().wait()

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        acting = group.create_task(refused(act()))
        await inside.wait()
        fence.stop()
    assert acting.result().code == "not_ready"
    with pytest.raises(ServiceError):
        async with fence.hold(9):
            pass


async def test_a_failure_inside_passes_through() -> None:
    with pytest.raises(TimeoutError):
        async with Fence().hold(1):
            raise TimeoutError
