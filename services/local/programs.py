"""System programs Moorage can use: whether they work here, and the line that installs them. Knows no stack."""

import re
import shutil
import subprocess
from pathlib import Path

from services.orchestrator.runtimes import sandbox

_LIMIT_S = 10.0
_INSTALLERS = {
    "apt-get": "apt-get install -y",
    "dnf": "dnf install -y",
    "pacman": "pacman -S --noconfirm",
    "apk": "apk add",
    "zypper": "zypper install -y",
    "brew": "brew install",
}
_APPARMOR = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
_CLONE = Path("/proc/sys/kernel/unprivileged_userns_clone")
_MOST = Path("/proc/sys/user/max_user_namespaces")


def install_line(package: str, *, root: bool) -> str:
    """Return the command that installs `package` here, with sudo unless `root`."""
    for program, words in _INSTALLERS.items():
        if shutil.which(program):
            return f"{'' if root or program == 'brew' else 'sudo '}{words} {package}"
    return f"install {package} with your system's package manager"


def git_version() -> tuple[int, int] | None:
    """Return major and minor of the git on PATH, or None without one."""
    said = output_of("git", "--version")
    found = re.search(r"(\d+)\.(\d+)", said or "")
    return (int(found[1]), int(found[2])) if found else None


def output_of(*argv: str) -> str | None:
    """Return what a program that succeeds writes to stdout, or None."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_LIMIT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def sandbox_problem() -> str | None:
    """Return why bubblewrap cannot make a sandbox here, or None when it just did."""
    problem = sandbox.problem()
    refusal = _refusal() if problem is not None else None
    return f"{problem} ({refusal})" if refusal else problem


def sandbox_remedy(*, root: bool) -> str:
    """Return the command that makes a sandbox possible here."""
    if shutil.which("bwrap") is None:
        return install_line("bubblewrap", root=root)
    sudo = "" if root else "sudo "
    if _is(_APPARMOR, "1"):
        return f"{sudo}sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    if _is(_CLONE, "0"):
        return f"{sudo}sysctl -w kernel.unprivileged_userns_clone=1"
    if _is(_MOST, "0"):
        return f"{sudo}sysctl -w user.max_user_namespaces=15000"
    return "allow user namespaces; in Docker: --security-opt seccomp=unconfined --security-opt apparmor=unconfined"


def _refusal() -> str | None:
    if _is(_APPARMOR, "1"):
        return "kernel.apparmor_restrict_unprivileged_userns is 1"
    if _is(_CLONE, "0"):
        return "kernel.unprivileged_userns_clone is 0"
    return "user.max_user_namespaces is 0" if _is(_MOST, "0") else None


def _is(setting: Path, value: str) -> bool:
    try:
        return setting.read_text(encoding="ascii").strip() == value
    except OSError:
        return False
