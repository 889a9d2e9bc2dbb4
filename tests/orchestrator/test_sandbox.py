"""What an agent can see, tried from inside, and that each wall is the one flag it is said to be."""

import os
import platform
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.orchestrator.runtimes import sandbox, seccomp

pytestmark = pytest.mark.sandbox

Change = Callable[[list[str]], list[str]]
SECRET = "what only the host may read"


@dataclass(frozen=True)
class Host:
    """A machine in small: a home with a secret, two workspaces, a server on loopback, a process."""

    mounts: sandbox.Mounts
    secret: Path
    other_tree: Path
    port: int
    pid: int

    def inside(self, script: str, change: Change = lambda flags: flags, *, filtered: bool = True) -> str:
        """What a Python script prints in the sandbox."""
        flags = change(sandbox.flags(self.mounts, {"PATH": sandbox.search_path()}))
        with sandbox.sealed(flags, filtered=filtered) as sealed:
            done = subprocess.run(
                [*sealed.argv, "--", "python3", "-c", script],
                pass_fds=sealed.descriptors,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
        return (done.stdout + done.stderr).strip()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    home = tmp_path / "home"
    mounts = sandbox.Mounts(*(tmp_path / "ws" / "a" / name for name in ("tree", "home", "egress", "etc")))
    other = tmp_path / "ws" / "b" / "tree"
    for folder in (home, other, mounts.tree, mounts.home, mounts.egress):
        folder.mkdir(parents=True)
    (home / "secret").write_text(SECRET)
    (other / "secret").write_text(SECRET)
    sandbox.write_etc(mounts.etc)
    with ExitStack() as stack:
        server = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
        threading.Thread(target=_greet, args=(server,), daemon=True).start()
        sleeper = subprocess.Popen(["sleep", "60"])
        stack.callback(sleeper.wait)
        stack.callback(sleeper.kill)
        yield Host(mounts, home / "secret", other / "secret", server.getsockname()[1], sleeper.pid)
        server.shutdown(socket.SHUT_RDWR)


def _greet(server: socket.socket) -> None:
    while True:
        try:
            peer, _ = server.accept()
        except OSError:
            return
        peer.sendall(b"reached")
        peer.close()


def without(flag: str) -> Change:
    """The flags, less one."""

    def change(flags: list[str]) -> list[str]:
        assert flag in flags
        return [item for item in flags if item != flag]

    return change


def with_mount(path: Path) -> Change:
    """The flags, and one mount more, where the host has it."""

    def change(flags: list[str]) -> list[str]:
        place = len(flags) - flags[::-1].index("--remount-ro") - 1
        return [*flags[:place], "--ro-bind", str(path), str(path), *flags[place:]]

    return change


READ = "import pathlib; print(pathlib.Path({path!r}).read_text())"
CONNECT = "import socket; print(socket.create_connection(('127.0.0.1', {port}), 3).recv(9).decode())"
PROCESSES = "import os; print(sorted(int(name) for name in os.listdir('/proc') if name.isdigit()))"


def test_the_users_home_is_not_there(host: Host) -> None:
    script = READ.format(path=str(host.secret))
    assert "No such file" in host.inside(script)
    assert host.inside(script, with_mount(host.secret.parent)) == SECRET


def test_another_workspace_is_not_there(host: Host) -> None:
    script = READ.format(path=str(host.other_tree))
    assert "No such file" in host.inside(script)
    assert host.inside(script, with_mount(host.other_tree.parents[1])) == SECRET


def test_the_hosts_own_home_and_state_are_not_there(host: Host) -> None:
    script = "import os; print(os.path.exists(os.path.join({home!r}, '.gitconfig')), os.listdir('/home'))"
    assert host.inside(script.format(home=str(Path.home()))) == "False ['agent']"


def test_the_hosts_network_is_not_reachable(host: Host) -> None:
    script = CONNECT.format(port=host.port)
    assert "Connection refused" in host.inside(script)
    assert host.inside(script, without("--unshare-net")) == "reached"


def test_processes_outside_are_not_visible(host: Host) -> None:
    assert str(host.pid) not in host.inside(PROCESSES)
    assert str(host.pid) in host.inside(PROCESSES, without("--unshare-pid"))


def test_processes_outside_cannot_be_signalled(host: Host) -> None:
    script = f"import os; os.kill({host.pid}, 0); print('signalled')"
    assert "No such process" in host.inside(script)
    assert host.inside(script, without("--unshare-pid")) == "signalled"


def test_shared_memory_outside_is_not_visible(host: Host) -> None:
    made = subprocess.run(["ipcmk", "-M", "64"], capture_output=True, text=True, check=True).stdout.split()[-1]
    try:
        script = "print(open('/proc/sysvipc/shm').read())"
        assert f" {made} " not in host.inside(script)
        assert f" {made} " in host.inside(script, without("--unshare-ipc"))
    finally:
        subprocess.run(["ipcrm", "-m", made], check=True)


def test_the_hosts_name_is_not_told(host: Host) -> None:
    assert host.inside("import socket; print(socket.gethostname())") == "moorage"


def test_no_namespace_can_be_made_inside(host: Host) -> None:
    script = "import subprocess; print(subprocess.run(['unshare', '-U', 'true'], capture_output=True).returncode)"
    assert host.inside(script) == "1"
    assert host.inside(script, without("--disable-userns")) == "0"


def test_nothing_has_a_capability(host: Host) -> None:
    script = "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('Cap')])"
    assert set(host.inside(script)) <= set("[]', 0")


def test_the_program_and_the_system_cannot_be_written(host: Host) -> None:
    for path in ("/usr/bin/x", "/etc/x", "/x", f"{sandbox.SERVICES}/x", f"{sys.prefix}/x", "/run/moorage/x"):
        assert "Read-only file system" in host.inside(f"open({path!r}, 'w')"), path


def test_memory_behind_shared_memory_and_scratch_is_bounded(host: Host) -> None:
    places = [*sandbox.SCRATCH, "/dev/shm"]
    script = f"import os; print([os.statvfs(place).f_blocks * os.statvfs(place).f_frsize for place in {places}])"
    assert host.inside(script) == str([sandbox.SCRATCH_BYTES] * 4)
    assert "Read-only file system" in host.inside("open('/dev/x', 'w')")
    semaphores = (
        "import multiprocessing; print(multiprocessing.Lock().acquire()); import os; os.openpty(); print('pty')"
    )
    assert host.inside(semaphores) == "True\npty"


def test_the_tree_and_the_home_can_be_written_and_belong_to_the_agent(host: Host) -> None:
    script = (
        "import os; open('x', 'w'); open('/home/agent/y', 'w'); open('/tmp/z', 'w'); print(os.getuid(), os.getcwd())"
    )
    assert host.inside(script) == "1000 /workspace"
    assert (host.mounts.tree / "x").stat().st_uid == os.getuid()
    assert (host.mounts.home / "y").exists()


def test_the_environment_tells_nothing_of_the_host(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_HOST", SECRET)
    script = "import os; print(os.environ.get('SECRET_OF_THE_HOST'))"
    assert host.inside(script) == "None"
    assert host.inside(script, without("--clearenv")) == SECRET


def test_the_command_line_tells_nothing_of_the_host(host: Host, tmp_path: Path) -> None:
    assert str(tmp_path) not in host.inside("print(open('/proc/1/cmdline').read())")


def test_the_sandbox_dies_with_what_started_it(host: Host) -> None:
    flags = sandbox.flags(host.mounts, {"PATH": sandbox.search_path()})
    starter = (
        "import subprocess, sys; p = subprocess.Popen(['bwrap', *sys.argv[1:], '--', 'sh', '-c', 'echo up; sleep 60'],"
        " stdout=subprocess.PIPE); print(p.pid, p.stdout.readline(), flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", starter, *flags], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline().split()[0])
        watch = os.pidfd_open(pid)
        parent.kill()

    ended, _, _ = select.select([watch], [], [], 10)
    os.close(watch)
    assert ended


def test_the_hosts_kernel_settings_cannot_be_changed(host: Host) -> None:
    path = Path("/proc/sys/vm/swappiness")
    before = path.read_text()
    script = f"open({str(path)!r}, 'w').write({before!r})"
    assert "Read-only file system" in host.inside(script)
    if os.geteuid() == 0:  # whose sandboxed processes are the host's root to the kernel
        assert host.inside(script, lambda flags: _less(flags, ["--remount-ro", "/proc"])) == ""


def _less(flags: list[str], part: list[str]) -> list[str]:
    place = next(i for i in range(len(flags)) if flags[i : i + len(part)] == part)
    return flags[:place] + flags[place + len(part) :]


@pytest.mark.parametrize("name", ["keyctl", "add_key", "pidfd_getfd"])
def test_system_calls_no_tool_needs_are_refused(host: Host, name: str) -> None:
    script = (
        "import ctypes, errno; libc = ctypes.CDLL(None, use_errno=True);"
        f"libc.syscall({seccomp.NUMBERS[platform.machine()][name]}, 0, 0, 0, 0, 0);"
        "print(errno.errorcode.get(ctypes.get_errno(), 'worked'))"
    )
    assert host.inside(script) == "EPERM"
    assert host.inside(script, filtered=False) != "EPERM"
