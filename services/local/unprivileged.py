"""Running a program that refuses root, as root, without an account of its own. Knows no program.

First choice is a user namespace in which root is called nobody: for the kernel it stays the owner of its files, so no
path has to change hands. Where namespaces are forbidden (a container's default), the program becomes nobody and
keeps one capability, to pass directories that only root may enter; then its own directory is given to nobody.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from services.local.errors import LocalError

_NOBODY = 65534
_TRY_LIMIT_S = 10
_DEATH = ("setpriv", "--pdeathsig", "INT")
"""Both ways change credentials, at which the kernel forgets the parent-death signal."""


@dataclass(frozen=True, slots=True)
class Disguise:
    """Words put before a command, and the user its files must belong to."""

    prefix: tuple[str, ...]
    owner: int

    def own(self, directory: Path) -> None:
        """Give `directory` and all below it to the user the command will be."""
        if directory.stat().st_uid == self.owner:
            return
        for parent, _, files in os.walk(directory):
            for path in (parent, *(os.path.join(parent, name) for name in files)):  # noqa: PTH118 - os.walk's strings
                os.chown(path, self.owner, -1, follow_symlinks=False)


NAMESPACE = Disguise(
    ("unshare", "--user", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}", "--", *_DEATH, "--"), owner=0
)
NOBODY = Disguise(
    (
        *_DEATH,
        *(f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--no-new-privs"),
        *("--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override", "--bounding-set=-all,+dac_override"),
        "--",
    ),
    owner=_NOBODY,
)


def disguise(program: Path, *, choices: tuple[Disguise, ...] = (NAMESPACE, NOBODY)) -> Disguise:
    """Return the first way to run `program --version` here as somebody else than root; none is needed when not root.

    Raises:
        LocalError: there is none.
    """
    if os.geteuid() != 0:
        return Disguise((), os.geteuid())
    for choice in choices:
        if shutil.which(choice.prefix[0]) and _works(choice, program):
            return choice
    raise LocalError(
        "The embedded Postgres cannot run as root here (user namespaces and setpriv are both refused); "
        "run Moorage as an ordinary user or set DATABASE_URL to a Postgres of yours."
    )


def _works(choice: Disguise, program: Path) -> bool:
    argv = [*choice.prefix, str(program), "--version"]
    try:
        return subprocess.run(argv, capture_output=True, check=False, timeout=_TRY_LIMIT_S).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
