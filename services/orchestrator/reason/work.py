"""One claimed run from its first event to its last. Knows no lease: whoever calls it keeps that."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from services.chassis.errors import ServiceError
from services.orchestrator.agents import AgentClient
from services.orchestrator.hub import Hub, Observation, Toolbox
from services.orchestrator.model.turn import Model
from services.orchestrator.reason import evidence, view
from services.orchestrator.reason.loop import Loop
from services.orchestrator.reason.opening import Opening
from services.orchestrator.reason.payloads import GivenFile, Outcome, SavedData, StartedData, WorkspaceData
from services.orchestrator.reason.record import Record
from services.orchestrator.runtimes.base import Observed
from services.orchestrator.store.database import DatabaseUnavailable
from services.orchestrator.store.inbox import Inbox
from services.orchestrator.store.tasks import LostTask, Run, TaskStore
from services.wire.base import TaskId
from services.wire.errors import ErrorCode, ErrorInfo
from services.wire.events import EventKind
from services.wire.hub import Grant
from services.wire.tasks import ModelInfo, TaskResult, TaskStatus

READ_TOOL = "filesystem__read_file"
"""The hub's tool that reads the files a caller names."""


class Work:
    """Carries out runs."""

    def __init__(self, store: TaskStore, inbox: Inbox, opening: Opening, hub: Hub, model: Model) -> None:
        self._store = store
        self._inbox = inbox
        self._opening = opening
        self._hub = hub
        self._model = model

    async def carry_out(self, run: Run) -> None:
        """Bring a task to its end and write it.

        Raises:
            LeaseLost: another run owns the task; nothing more was written.
            DatabaseUnavailable: the log cannot be written; another run will go on from where it stands.
        """
        record = await Record.load(run, self._store, self._inbox)
        try:
            async with asyncio.timeout(_remaining(record)) as limit:
                outcome = await self._attempt(record)
        except TimeoutError:
            if not limit.expired():
                raise
            message = f"The task took longer than its {run.request.timeout_s} s; raise timeout_s or ask for less."
            outcome = _failed(ErrorInfo(code=ErrorCode.TIMEOUT, message=message))
        except DatabaseUnavailable:
            raise
        except ServiceError as error:
            outcome = _failed(error.info())
        await self.conclude(record, outcome)

    async def cancelled(self, run: Run) -> None:
        """End a run that was cancelled, with what it had done so far."""
        record = await Record.load(run, self._store, self._inbox)
        await self.conclude(record, _cancelled())

    async def broken(self, run: Run) -> None:
        """End a run that failed in a way nobody foresaw, with nothing that could fail again; the log has the reason."""
        events = await self._store.log(run.task_id)
        message = "The task failed for an internal reason; the orchestrator's log names it under this task's id."
        outcome = _failed(ErrorInfo(code=ErrorCode.INTERNAL, message=message))
        await self._finish(run.task_id, run.run_no, evidence.result(run.task_id, run.workspace_id, events, outcome))

    async def abandoned(self, lost: LostTask) -> None:
        """End a task whose runs vanished, or vanished after someone cancelled it."""
        events = await self._store.log(lost.task_id)
        if lost.cancelled:
            outcome = _cancelled()
        else:
            message = "The processes that ran this task died each time; look at their logs, then send it again."
            outcome = _failed(ErrorInfo(code=ErrorCode.INTERNAL, message=message))
        final = evidence.result(lost.task_id, lost.workspace_id, events, outcome)
        await self._finish(lost.task_id, lost.run_no, final)

    async def conclude(self, record: Record, outcome: Outcome) -> None:
        """Save the tree and finish the task with its evidence."""
        if view.workspace(record.events) is not None:
            saved = await self._save(record)
            if saved.error is not None and outcome.error is None:
                outcome = outcome.model_copy(update={"status": TaskStatus.FAILED, "error": saved.error})
        run = record.run
        final = evidence.result(run.task_id, run.workspace_id, record.events, outcome)
        await self._finish(run.task_id, run.run_no, final, step=record.step)

    async def _finish(self, task_id: TaskId, run_no: int, final: TaskResult, *, step: int = 0) -> None:
        data = final.model_dump(mode="json", by_alias=True)
        await self._store.finish(task_id, run_no, final.status, data, step=step)

    async def _attempt(self, record: Record) -> Outcome:
        await self._started(record)
        opened = await self._opening.open(record)
        async with self._tools(record, opened.agent) as tools:
            if opened.workspace is not None:
                await record.add(EventKind.WORKSPACE_READY, await self._with_files(record.run, opened.workspace, tools))

            async def use(name: str, arguments: dict[str, Any]) -> Observation:
                await self._opening.revive(record)
                try:
                    return await tools.call(name, arguments)
                except ServiceError as error:
                    # A hub that was started again listens for no sandbox until it is asked to.
                    with contextlib.suppress(ServiceError):
                        await self._opening.agent(record.run.workspace_id)
                    text = f"error: {error.message} It is not known whether the call took effect."
                    return Observation(ok=False, text=text)

            return await Loop(self._model, record, await tools.list(), use).run()

    async def _started(self, record: Record) -> None:
        identity = await self._model.identify(record.run.request.model)
        model = ModelInfo(name=identity.name, endpoint=identity.endpoint, wire=identity.wire, why=identity.why)
        if record.of(EventKind.TASK_STARTED):
            await record.add(EventKind.TASK_RESUMED, StartedData(model=model))
        else:
            waited = datetime.now(UTC) - record.run.created_at
            queue_ms = max(0, round(waited.total_seconds() * 1000))
            await record.add(EventKind.TASK_STARTED, StartedData(model=model, queue_ms=queue_ms))

    @contextlib.asynccontextmanager
    async def _tools(self, record: Record, agent: Observed) -> AsyncIterator[Toolbox]:
        run = record.run

        def mint() -> str:
            grant = Grant(
                workspace_id=run.workspace_id,
                task_id=run.task_id,
                run_no=run.run_no,
                epoch=agent.epoch,
                agent=agent.address,
            )
            return self._hub.grant(grant, self._store.lease_s)

        async with self._hub.tools(run.workspace_id, mint) as tools:
            yield tools

    async def _with_files(self, run: Run, workspace: WorkspaceData, tools: Toolbox) -> WorkspaceData:
        given: list[GivenFile] = []
        missing: list[str] = []
        for path in run.request.files:
            seen = await tools.call(READ_TOOL, {"path": path})
            if seen.ok:
                given.append(GivenFile(path=path, text=seen.text))
            else:
                missing.append(path)
        return workspace.model_copy(update={"files": given, "files_missing": missing})

    async def _save(self, record: Record) -> SavedData:
        """Write down what changed; an agent that is gone is started again, its disk is still there."""
        try:
            agent = await self._opening.revive(record)
            changes = await AgentClient(agent.address, record.run.run_no).changes()
        except DatabaseUnavailable:
            raise
        except ServiceError as error:
            saved = SavedData(error=error.info())
            await record.add(EventKind.WORKSPACE_SAVED, saved)
            return saved
        wanted = record.run.request.deliver == "patch"
        saved = SavedData(commit=changes.commit, files=changes.files, patch=wanted)
        await record.add(EventKind.WORKSPACE_SAVED, saved, attachment=changes.patch if wanted else None)
        return saved


def _cancelled() -> Outcome:
    error = ErrorInfo(code=ErrorCode.CANCELLED, message="The task was cancelled.")
    return Outcome(status=TaskStatus.CANCELLED, error=error)


def _failed(error: ErrorInfo) -> Outcome:
    return Outcome(status=TaskStatus.FAILED, error=error)


def _remaining(record: Record) -> float:
    """Seconds the task has left; an earlier run's time counts."""
    starts = record.of(EventKind.TASK_STARTED)
    spent = (datetime.now(UTC) - starts[0].at).total_seconds() if starts else 0.0
    return max(1.0, record.run.request.timeout_s - spent)
