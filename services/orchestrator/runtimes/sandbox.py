"""The bubblewrap command line: what an agent can see, and nothing else. Knows no process and no workspace.

Source of the flags: `bwrap(1)` 0.8. The namespaces make everything but the named paths absent, not merely unreadable.
"""

import contextlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.orchestrator.runtimes import seccomp

SERVICES = Path(__file__).resolve().parents[2]
"""The `services` package, which is all of the program's source that an agent sees."""

WORKSPACE = Path("/workspace")
HOME = Path("/home/agent")
RUN = Path("/run/moorage")
UID = 1000
PROBE_LIMIT_S = 10.0

SCRATCH = ("/tmp", "/run", "/home")  # noqa: S108 - the sandbox's own
SCRATCH_BYTES = 2 * 1024**3
"""Most that each of them holds, in memory."""

_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ETC = ("alternatives", "ca-certificates", "ca-certificates.conf", "ssl", "pki", "ld.so.cache", "ld.so.conf",
        "ld.so.conf.d", "localtime", "mime.types", "java-17-openjdk", "perl", "fonts")  # fmt: skip
_PASSWD = "root:x:0:0:root:/root:/usr/sbin/nologin\nagent:x:1000:1000:agent:/home/agent:/bin/bash\n"  # noqa: S105 - no password in it
_GROUP = "root:x:0:\nagent:x:1000:\n"
_HOSTS = "127.0.0.1 localhost moorage\n::1 localhost\n"

NAMESPACES = (
    "--unshare-user",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-net",
    "--unshare-cgroup-try",
)


@dataclass(frozen=True, slots=True)
class Mounts:
    """Host directories of one sandbox: its tree and home, read-write; its egress socket's and etc's, read-only."""

    tree: Path
    home: Path
    egress: Path
    etc: Path


def write_etc(etc: Path) -> None:
    """Write the few files of /etc that programs ask for; the host's own tell about the host."""
    etc.mkdir(parents=True, exist_ok=True)
    for name, text in (("passwd", _PASSWD), ("group", _GROUP), ("hosts", _HOSTS), ("resolv.conf", "")):
        (etc / name).write_text(text, encoding="utf-8")


def flags(mounts: Mounts, environment: dict[str, str]) -> list[str]:
    """Return bwrap's flags for a sandbox that dies with its parent."""
    return [
        "--die-with-parent",
        "--new-session",
        *NAMESPACES,
        *("--uid", str(UID), "--gid", str(UID), "--hostname", "moorage", "--disable-userns"),
        *("--cap-drop", "ALL"),
        *_system(),
        # For root's stack the agent is the host's root to the kernel, and /proc/sys is the host's: never writable.
        *("--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev"),
        *("--size", str(SCRATCH_BYTES), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"),  # noqa: S108
        *(part for place in SCRATCH for part in ("--size", str(SCRATCH_BYTES), "--tmpfs", place)),
        *_etc(mounts.etc),
        *_program(),
        *("--ro-bind", str(mounts.egress), str(RUN)),
        *("--bind", str(mounts.tree), str(WORKSPACE), "--bind", str(mounts.home), str(HOME)),
        *("--remount-ro", "/", "--chdir", str(WORKSPACE), "--clearenv"),
        *(part for name, value in environment.items() for part in ("--setenv", name, value)),
    ]


@dataclass(frozen=True, slots=True)
class Sealed:
    """The beginning of a bwrap command line that tells nothing, and the descriptors it reads the rest from."""

    argv: tuple[str, ...]
    descriptors: tuple[int, ...]


@contextlib.contextmanager
def sealed(flags: list[str], *, filtered: bool = True) -> Iterator[Sealed]:
    """Put `flags` and the system call filter where bwrap reads them; its command line can be seen inside.

    Without the filter is for showing that a refusal is the filter's.
    """
    program = seccomp.program(platform.machine()) if filtered else None
    with contextlib.ExitStack() as stack:
        descriptors = []
        if program is not None:
            descriptors.append(stack.enter_context(_in_memory("seccomp", program)))
            flags = ["--seccomp", str(descriptors[0]), *flags]
        data = b"".join(os.fsencode(flag) + b"\0" for flag in flags)
        descriptors.append(stack.enter_context(_in_memory("arguments", data)))
        yield Sealed(("bwrap", "--args", str(descriptors[-1])), tuple(descriptors))


@contextlib.contextmanager
def _in_memory(name: str, data: bytes) -> Iterator[int]:
    descriptor = os.memfd_create(name)
    try:
        os.write(descriptor, data)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def _system() -> list[str]:
    """/usr, and the names beside it as they are on this host: links on a merged-/usr system, folders elsewhere."""
    flags = ["--ro-bind", "/usr", "/usr"]
    for name in _SYSTEM:
        path = Path("/") / name
        if path.is_symlink():
            flags += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            flags += ["--ro-bind", str(path), str(path)]
    return flags


def _etc(etc: Path) -> list[str]:
    flags = [part for name in _ETC for part in ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")]
    for path in sorted(etc.iterdir()):
        flags += ["--ro-bind", str(path), f"/etc/{path.name}"]
    return flags


def _program() -> list[str]:
    """The interpreter, the environment it runs in, and our source, where they lie on the host, unless below /usr."""
    places = {Path(sys.base_prefix).resolve(), Path(sys.prefix), Path(sysconfig.get_path("purelib")), SERVICES}
    flags: list[str] = []
    for place in sorted(places):
        if not place.is_relative_to("/usr"):
            flags += ["--ro-bind", str(place), str(place)]
    return flags


def search_path() -> str:
    """PATH inside: the system's programs first, then the interpreter we run on."""
    return f"/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin:{Path(sys.base_prefix).resolve() / 'bin'}"


def problem() -> str | None:
    """Return why no sandbox can be made here, None when one has just been made the way agents' are."""
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed"
    least = [*NAMESPACES, "--uid", str(UID), "--gid", str(UID), "--disable-userns", "--cap-drop", "ALL", *_system()]
    devices = ["--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev", "--size", "4096", "--tmpfs", "/dev/shm"]  # noqa: S108
    try:
        with sealed([*least, *devices]) as beginning:
            done = subprocess.run(
                [*beginning.argv, "--", "true"],
                pass_fds=beginning.descriptors,
                capture_output=True,
                text=True,
                timeout=PROBE_LIMIT_S,
                check=False,
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap cannot be run: {error}"
    if done.returncode == 0:
        return None
    return (
        f"bubblewrap does not work here: {(done.stderr.strip().splitlines() or [f'exit code {done.returncode}'])[-1]}"
    )
