"""The agent's composition root: builds the parts, starts the relay, and ends commands when it is told to end."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from types import FrameType
from typing import Any

from fastapi import FastAPI

from services.agent.api import Agent, router
from services.agent.children import Children
from services.agent.fence import Fence
from services.agent.files import Files
from services.agent.git import Git
from services.agent.history import History
from services.agent.output import Spills
from services.agent.patch import Patcher
from services.agent.relay import Relay
from services.agent.search import Engine, Search
from services.agent.settings import Settings
from services.agent.shell import Shell
from services.agent.tree import Tree
from services.agent.workspace import Workspace
from services.chassis.app import create_app, serve

_BODY_BYTES = 64 * 1024 * 1024
_REAP_S = 1.0
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36


def create(
    settings: Settings,
    *,
    adopt_orphans: bool = False,
    protocols: tuple[str, ...] = ("http", "https"),
    search_engine: Engine | None = None,
) -> FastAPI:
    """Build the agent's app.

    `adopt_orphans` is for a process that is nothing but the agent: it buries every dead child it has not started.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        settings.root.mkdir(parents=True, exist_ok=True)
        settings.home.mkdir(parents=True, exist_ok=True)
        children = Children()
        async with asyncio.TaskGroup() as group:
            background = []
            proxy = None
            if adopt_orphans:
                background.append(group.create_task(_bury(children), name="bury orphans"))
            if settings.egress_socket is not None:
                ready = asyncio.Event()
                relay = Relay(settings.egress_socket, settings.proxy_port)
                background.append(group.create_task(relay.serve(ready), name="egress relay"))
                await ready.wait()
                proxy = f"http://127.0.0.1:{relay.port}"
            agent = _build(settings, children, protocols, search_engine, proxy)
            with contextlib.closing(agent.shell), _on_sigterm(agent.fence.stop):
                yield {"agent": agent}
                agent.fence.stop()
            for task in background:
                task.cancel()

    return create_app("Moorage agent", lifespan, [router], body_limit=_BODY_BYTES)


def _build(
    settings: Settings,
    children: Children,
    protocols: tuple[str, ...],
    search_engine: Engine | None,
    proxy: str | None,
) -> Agent:
    tree = Tree(settings.root)
    git = Git(tree, children, path=settings.path, proxy=proxy, timeout=settings.git_timeout, protocols=protocols)
    workspace = Workspace(git, patch_bytes=settings.patch_bytes, fetch_timeout=settings.fetch_timeout)
    shell = Shell(
        tree,
        children,
        Spills(tree, file_bytes=settings.spill_bytes, keep=settings.spill_files),
        _tool_env(settings, proxy),
        head=settings.output_head,
        tail=settings.output_tail,
        max_commands=settings.max_commands,
    )
    files = Files(
        tree,
        text_bytes=settings.text_bytes,
        list_entries=settings.list_entries,
        file_bytes=settings.read_file_bytes,
    )
    return Agent(
        workspace_id=settings.workspace_id,
        pid=os.getpid(),
        fence=Fence(),
        workspace=workspace,
        shell=shell,
        files=files,
        search=Search(tree, git, children, path=settings.path, timeout=settings.search_timeout, engine=search_engine),
        patcher=Patcher(tree, file_bytes=settings.read_file_bytes),
        history=History(git, workspace, text_bytes=settings.text_bytes),
    )


def _tool_env(settings: Settings, proxy: str | None) -> dict[str, str]:
    env = {"PATH": settings.path, "HOME": str(settings.home)}
    if settings.home_mark:
        env["MOORAGE_HOME_MARK"] = settings.home_mark
    if proxy is not None:
        env |= dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), proxy)
        env |= dict.fromkeys(("no_proxy", "NO_PROXY"), "localhost,127.0.0.1,::1")
    return env


async def _bury(children: Children) -> None:
    while True:
        await asyncio.sleep(_REAP_S)
        children.reap()


@contextlib.contextmanager
def _on_sigterm(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` at once on SIGTERM: the server itself only waits, and a running command would make it wait long."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    previous = signal.getsignal(signal.SIGTERM)

    def both(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stop)
        if callable(previous):
            previous(number, frame)

    signal.signal(signal.SIGTERM, both)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _tie_to_parent(parent: int) -> None:
    """Get SIGTERM when the parent ends, and end now if it has ended already."""
    # TERM, not KILL: we still have commands to end.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("The parent process ended before the agent began.")


def main() -> None:
    """Run the agent until it is told to end."""
    parent = os.getppid()
    settings = Settings()
    if sys.platform == "linux":
        if settings.die_with_parent:
            _tie_to_parent(settings.parent_pid or parent)
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        # Commands run as the same user: this keeps them from our memory and descriptors, the control socket's first.
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    serve(create(settings, adopt_orphans=True), settings)


if __name__ == "__main__":
    main()
