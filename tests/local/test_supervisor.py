"""The supervisor with small real programs as children."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.local.child import Backoff, ChildFailed, ChildSpec, rotate
from services.local.processes import Process
from services.local.supervisor import Supervisor

QUICK = Backoff(first=0.01, most=0.05, steady=30)
PATIENT = """
import pathlib, signal, sys, time
name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
def stop(*_):
    with (folder / "stopped").open("a") as file:
        file.write(name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
(folder / name).write_text("up")
print("hello from", name, flush=True)
while True:
    time.sleep(60)
"""


def child(folder: Path, name: str, program: str = PATIENT, **changes: Any) -> ChildSpec:
    sign = folder / name

    async def ready() -> bool:
        return sign.exists()

    argv = [sys.executable, "-c", program, name, str(folder)]
    env = {"PATH": os.defpath, "GREETING": name}
    spec = ChildSpec(name, argv, env, ready, before_start=lambda: sign.unlink(missing_ok=True))
    return replace(spec, **changes)


@contextlib.asynccontextmanager
async def running(supervisor: Supervisor) -> AsyncIterator[None]:
    stop, ready = asyncio.Event(), asyncio.Event()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(supervisor.run(stop, ready=ready.set))
        await ready.wait()
        try:
            yield
        finally:
            stop.set()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_children_stop_in_the_opposite_order_of_their_stages(tmp_path: Path) -> None:
    stages = [[child(tmp_path, "one"), child(tmp_path, "two")], [child(tmp_path, "three")]]
    supervisor = Supervisor(stages, tmp_path)
    async with running(supervisor):
        pids = [kid.pid for kid in supervisor.children]
        assert None not in pids
    assert (tmp_path / "stopped").read_text(encoding="utf-8").split() == ["three", "two", "one"]
    assert [kid.pid for kid in supervisor.children] == [None, None, None]


async def test_a_stage_starts_only_when_the_one_before_is_ready(tmp_path: Path) -> None:
    seen: list[bool] = []
    second = child(tmp_path, "second", before_start=lambda: seen.append((tmp_path / "first").exists()))
    async with running(Supervisor([[child(tmp_path, "first")], [second]], tmp_path)):
        assert seen == [True]


async def test_a_child_that_dies_is_started_again_and_what_it_left_is_cleared(tmp_path: Path) -> None:
    supervisor = Supervisor([[child(tmp_path, "kept")]], tmp_path, backoff=QUICK)
    async with running(supervisor):
        kept = supervisor.children[0]
        for restarts in (1, 2):
            old = kept.pid
            assert old is not None
            os.kill(old, signal.SIGKILL)
            await until(lambda old=old: kept.pid not in {None, old} and (tmp_path / "kept").exists())  # type: ignore[misc]
            assert kept.restarts == restarts


async def test_output_and_environment_of_a_child_are_its_own(tmp_path: Path) -> None:
    program = PATIENT.replace('"hello from", name', '__import__("os").environ')
    async with running(Supervisor([[child(tmp_path, "talker", program)]], tmp_path)):
        await until(lambda: "GREETING" in (tmp_path / "talker.log").read_text(encoding="utf-8"))
    assert "HOME" not in (tmp_path / "talker.log").read_text(encoding="utf-8")


async def test_a_child_that_ends_at_once_stops_the_others_and_its_last_words_are_told(tmp_path: Path) -> None:
    broken = child(tmp_path, "broken", "raise SystemExit('the disk is full')")
    (tmp_path / "broken.log").write_text("an older start's words\n")
    supervisor = Supervisor([[child(tmp_path, "fine")], [broken]], tmp_path)
    with pytest.raises(ChildFailed, match=r"^broken ended with code 1: the disk is full \(see .*broken\.log\)$"):
        await supervisor.run(asyncio.Event())
    assert (tmp_path / "stopped").read_text(encoding="utf-8").split() == ["fine"]


async def test_a_child_that_never_gets_ready_is_given_up(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    supervisor = Supervisor([[child(tmp_path, "slow", ready=never, start_limit_s=0.2)]], tmp_path)
    with pytest.raises(ChildFailed, match="slow was not ready in 0 s"):
        await supervisor.run(asyncio.Event())
    assert supervisor.children[0].pid is None


async def test_a_child_that_ignores_the_stop_signal_is_killed_with_its_session(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import pathlib, signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        (pathlib.Path(sys.argv[2]) / sys.argv[1]).write_text(str(grandchild.pid))
        time.sleep(60)
    """)

    async def ready() -> bool:
        return bool((tmp_path / "deaf").exists() and (tmp_path / "deaf").read_text(encoding="ascii"))

    spec = child(tmp_path, "deaf", program, ready=ready, stop_limit_s=0.1)
    async with running(Supervisor([[spec]], tmp_path)):
        grandchild = Process.find(int((tmp_path / "deaf").read_text(encoding="ascii")))
        assert grandchild is not None
    await until(lambda: not grandchild.alive)


async def test_children_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    program = textwrap.dedent(f"""
        import asyncio, sys
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        from pathlib import Path
        from services.local.child import ChildSpec
        from services.local.supervisor import Supervisor
        folder = Path({str(tmp_path)!r})
        async def ready():
            return (folder / "orphan").exists()
        argv = [sys.executable, "-c", {PATIENT!r}, "orphan", str(folder)]
        supervisor = Supervisor([[ChildSpec("orphan", argv, {{}}, ready)]], folder)
        asyncio.run(supervisor.run(asyncio.Event(), ready=lambda: print(supervisor.children[0].pid, flush=True)))
    """)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        orphan = Process.find(int(await asyncio.to_thread(killed.stdout.readline)))
        assert orphan is not None
        killed.kill()
    await until(lambda: not orphan.alive)
    assert (tmp_path / "stopped").read_text(encoding="utf-8").split() == ["orphan"]


async def test_stopping_while_children_start_leaves_none(tmp_path: Path) -> None:
    started = asyncio.Event()

    async def never() -> bool:
        started.set()
        return False

    supervisor = Supervisor([[child(tmp_path, "starting", ready=never)]], tmp_path)
    stop = asyncio.Event()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(supervisor.run(stop))
        await started.wait()
        stop.set()
    assert supervisor.children[0].pid is None


def test_a_long_log_is_put_aside_and_a_short_one_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    log.write_bytes(b"short")
    rotate(log)
    assert log.exists()
    log.write_bytes(b"x" * 10_000_001)
    rotate(log)
    assert not log.exists()
    assert (tmp_path / "child.log.1").stat().st_size == 10_000_001
