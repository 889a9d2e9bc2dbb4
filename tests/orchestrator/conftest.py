"""A task store on a real database, with its inbox listening."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from services.orchestrator.domain import parse_repo_url
from services.orchestrator.store.database import Database
from services.orchestrator.store.inbox import Inbox
from services.orchestrator.store.tasks import Run, TaskStore
from services.orchestrator.store.workspaces import WorkspaceStore
from services.wire.base import TaskId, WorkspaceId
from services.wire.tasks import OrchestrateRequest


@dataclass
class Stores:
    """What the tests act on."""

    database: Database
    inbox: Inbox
    tasks: TaskStore
    workspaces: WorkspaceStore

    async def queue(self, repository: str = "https://host/owner/name", query: str = "q") -> TaskId:
        """Queue a task on a repository and return its id."""
        parsed = parse_repo_url(repository)
        await self.workspaces.upsert(parsed.workspace_id, parsed)
        row = await self.tasks.create(parsed.workspace_id, OrchestrateRequest(query=query, repo_url=repository))
        return row.id

    async def claimed(self, repository: str = "https://host/owner/name") -> Run:
        """Queue a task and claim it."""
        run = await self.tasks.claim(await self.queue(repository))
        assert run is not None
        return run

    async def expire(self, run: Run) -> None:
        """Make a run's lease end now, as if its process had been silent."""
        async with self.database.connection() as connection:
            await connection.execute(
                "update tasks set lease_until = now() - interval '1 second' where id = %s", (run.task_id,)
            )


WORKSPACE = WorkspaceId(parse_repo_url("https://host/owner/name").workspace_id)


@pytest.fixture
async def stores(postgres_url: str) -> AsyncIterator[Stores]:
    database = Database(postgres_url, size=8)
    inbox = Inbox(postgres_url)
    async with database.open(), asyncio.TaskGroup() as group:
        listening = group.create_task(inbox.listen())
        yield Stores(database, inbox, TaskStore(database, inbox, lease_s=30.0), WorkspaceStore(database))
        listening.cancel()
