"""The orchestrator's composition root: the only module that builds objects and reads settings."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator

import psycopg
from fastapi import FastAPI

from services.chassis.app import create_app, serve
from services.orchestrator.api import containers, health, internal, orchestrate, tasks, ui
from services.orchestrator.api.state import State
from services.orchestrator.dispatch import Dispatcher
from services.orchestrator.hub import Hub
from services.orchestrator.model.chat import ChatModel
from services.orchestrator.model.endpoint import choose
from services.orchestrator.reason.opening import Opening
from services.orchestrator.reason.work import Work
from services.orchestrator.runtimes.lifecycle import Lifecycle
from services.orchestrator.runtimes.process import ProcessRuntime, probe_isolation
from services.orchestrator.settings import Settings
from services.orchestrator.store.database import Database
from services.orchestrator.store.inbox import Inbox
from services.orchestrator.store.tasks import TaskStore
from services.orchestrator.store.workspaces import WorkspaceStore

logger = logging.getLogger(__name__)

REAP_EVERY_S = 10.0
DATABASE_LIMIT_S = 5


@contextlib.asynccontextmanager
async def compose(settings: Settings) -> AsyncIterator[State]:
    """Build everything from the settings, run the background loops, and take it all down in reverse order."""
    secret = settings.service_secret.get_secret_value()
    database = Database(settings.database_url.get_secret_value())
    inbox = Inbox(database.url)
    store = TaskStore(database, inbox, lease_s=settings.lease_s)
    workspaces = WorkspaceStore(database)
    hub = Hub(settings.hub, secret)
    chat = ChatModel(choose(settings), timeout_s=settings.model_timeout_s)
    capabilities = await asyncio.to_thread(probe_isolation)
    async with chat.open(), database.open(), asyncio.TaskGroup() as group, contextlib.AsyncExitStack() as stack:
        process = ProcessRuntime(settings.state_dir, settings.run_dir, capabilities, settings.child_mark, group)
        await stack.enter_async_context(process.serve())
        lifecycle = Lifecycle(process, workspaces, idle_s=settings.agent_idle_s)
        opening = Opening(lifecycle, hub, settings.egress_allow)
        work = Work(store, inbox, opening, hub, chat)
        dispatcher = Dispatcher(store, inbox, work, max_runs=settings.max_runs)
        loops = [
            group.create_task(inbox.listen(), name="inbox"),
            group.create_task(dispatcher.run(), name="dispatcher"),
            group.create_task(lifecycle.reap(REAP_EVERY_S), name="reaper"),
        ]
        yield State(
            tasks=store,
            workspaces=workspaces,
            lifecycle=lifecycle,
            opening=opening,
            hub=hub,
            model=chat,
            api_token=settings.api_token.get_secret_value(),
            service_secret=secret,
            local_repositories=settings.runtime == "process",
        )
        for loop in loops:
            loop.cancel()
        await asyncio.wait(loops)
        with contextlib.suppress(psycopg.Error):
            await lifecycle.shut_down()


def build(settings: Settings) -> FastAPI:
    """Return the app."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        async with compose(settings) as state:
            yield state

    routers = [orchestrate.router, tasks.router, containers.router, internal.router, health.router, ui.router]
    return create_app("Moorage orchestrator", lifespan, routers)


def main() -> None:
    """Serve until told to stop; what is wrong with a setting is said in one sentence before anything starts."""
    settings = Settings()
    if problem := wrong_setting(settings):
        sys.exit(problem)
    serve(build(settings), settings)


def wrong_setting(settings: Settings) -> str | None:
    """Return what keeps this service from starting, and the setting to change."""
    if missing := settings.missing():
        return f"The orchestrator needs {' and '.join(missing)}; `./moorage up` sets them on a laptop."
    try:
        choose(settings)
    except ValueError as error:
        return f"{error}."
    url = settings.database_url.get_secret_value()
    try:
        known = psycopg.conninfo.conninfo_to_dict(url)
        with psycopg.connect(url, connect_timeout=DATABASE_LIMIT_S):
            return None
    except psycopg.ProgrammingError:
        return (
            "DATABASE_URL is not a Postgres connection string; write it as postgresql://user:password@host:5432/name."
        )
    except psycopg.OperationalError as error:
        place = f"{known.get('host', 'localhost')}:{known.get('port', 5432)}"
        reason = str(error).strip().splitlines()[0].rpartition(": ")[2].strip()
        return f"DATABASE_URL: Postgres at {place} cannot be used ({reason}); check that it runs and lets us in."


if __name__ == "__main__":
    main()
