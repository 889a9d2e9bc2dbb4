"""From a workspace to a running agent with the right tree. Knows no model and no loop."""

import asyncio
import time
from dataclasses import dataclass

from services.chassis.concurrency import first_failure
from services.orchestrator.agents import AgentClient
from services.orchestrator.hub import Hub
from services.orchestrator.reason.payloads import ContainerData, WorkspaceData
from services.orchestrator.reason.record import Record
from services.orchestrator.runtimes.base import Observed
from services.orchestrator.runtimes.lifecycle import Lifecycle, Ready
from services.orchestrator.store.tasks import Run
from services.wire.agent import OpenRequest
from services.wire.base import WorkspaceId
from services.wire.events import EventKind
from services.wire.hub import EgressRequest, MirrorReply, MirrorRequest
from services.wire.tasks import Base


@dataclass(frozen=True, slots=True)
class Opened:
    """What was opened, before it is written down; `files` are added by whoever reads them."""

    agent: Observed
    workspace: WorkspaceData | None


class Opening:
    """Starts agents, gives them their way out, and has them check out what a run starts from."""

    def __init__(self, lifecycle: Lifecycle, hub: Hub, egress_allow: tuple[str, ...]) -> None:
        self.lifecycle = lifecycle
        self._hub = hub
        self._egress_allow = list(egress_allow)

    async def agent(self, workspace_id: WorkspaceId) -> Ready:
        """Return a running agent whose traffic the hub carries.

        Raises:
            ServiceError: it did not start, or the hub is not there.
        """
        ready = await self.lifecycle.ensure(workspace_id)
        if ready.observed.egress is not None:
            request = EgressRequest(socket=str(ready.observed.egress), allow=self._egress_allow)
            await self._hub.egress(workspace_id, request)
        return ready

    async def open(self, record: Record) -> Opened:
        """Fetch the repository and start the agent side by side, then open the tree; a resumed run keeps its tree.

        Raises:
            ServiceError: which of them failed, and why.
        """
        if record.of(EventKind.WORKSPACE_READY):
            return Opened(await self.revive(record), None)
        try:
            async with asyncio.TaskGroup() as group:
                fetching = group.create_task(self._fetch(record.run), name="mirror")
                starting = group.create_task(self._start(record), name="agent")
        except BaseExceptionGroup as failures:
            raise first_failure(failures) from None
        agent, mirror = starting.result(), fetching.result()
        return Opened(agent, await self._check_out(record.run, agent, mirror))

    async def revive(self, record: Record) -> Observed:
        """Return the run's agent, started again if it is gone."""
        seen = await self.lifecycle.alive(record.run.workspace_id)
        return seen or await self._start(record)

    async def _start(self, record: Record) -> Observed:
        capabilities = self.lifecycle.runtime.capabilities()
        shown = {"runtime": self.lifecycle.runtime.name, "isolation": capabilities.isolation, "why": capabilities.why}
        began = time.monotonic()
        if await self.lifecycle.alive(record.run.workspace_id) is None:
            await record.add(EventKind.CONTAINER_STARTING, ContainerData(**shown))
        ready = await self.agent(record.run.workspace_id)
        data = ContainerData(**shown, epoch=ready.observed.epoch, started=ready.started, ms=_ms_since(began))
        await record.add(EventKind.CONTAINER_READY, data)
        return ready.observed

    async def _fetch(self, run: Run) -> MirrorReply | None:
        if run.fetch_url is None:
            return None
        return await self._hub.mirror(
            MirrorRequest(
                workspace_id=run.workspace_id, fetch_url=run.fetch_url, local=run.kind == "local", ref=run.request.ref
            )
        )

    async def _check_out(self, run: Run, agent: Observed, mirror: MirrorReply | None) -> WorkspaceData:
        # A ref that is asked for by name is a new start; what an earlier task left is set aside, not lost.
        start = "fresh" if run.request.ref else run.request.start
        request = OpenRequest(
            remote=mirror.remote if mirror else None,
            commit=mirror.commit if mirror else None,
            start=start,
            delivered=run.delivered,
        )
        opened = await AgentClient(agent.address, run.run_no).open(request)
        return WorkspaceData(
            base=Base(commit=opened.commit, origin=opened.origin, behind=opened.behind),
            ref=mirror.ref if mirror else None,
            dirty=mirror.dirty if mirror else False,
            fetch_ms=mirror.ms if mirror else 0,
            open_ms=opened.ms,
        )


def _ms_since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
