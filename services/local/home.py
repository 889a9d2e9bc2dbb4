"""A home: the one directory that holds everything a laptop stack keeps, and the environment it was started in.

Knows no process. Nothing above the home is ever created with special rights, chmodded or chowned.
"""

import contextlib
import hashlib
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from services.local import private
from services.local.errors import LocalError

DEFAULT_PORT = 8080
_DEFAULT_HOME = "~/.moorage"
_LONGEST_RUN_DIR = 45
"""Characters; a socket in it then stays under 80, and the kernel's limit is 107."""


class HomeError(LocalError):
    """The home cannot be used."""


def environment() -> dict[str, str]:
    """Return a copy of this process's environment."""
    return dict(os.environ)  # noqa: TID251 - the one place of services.local that reads it


@dataclass(frozen=True, slots=True)
class Home:
    """The home at `path`, absolute and without links; `prepare` makes it."""

    path: Path

    @classmethod
    def find(cls, path: str | Path | None = None) -> "Home":
        """Return the home at `path`, else at MOORAGE_HOME, else at ~/.moorage.

        Raises:
            HomeError: it cannot be a home.
        """
        try:
            wanted = Path(path or environment().get("MOORAGE_HOME") or _DEFAULT_HOME).expanduser()
            return cls(wanted.resolve())
        except (RuntimeError, OSError) as error:
            raise HomeError(f"The home directory cannot be found ({error}); set MOORAGE_HOME.") from error

    @property
    def mark(self) -> str:
        """Twelve hex digits that name this home; every process of its stack carries them in its environment."""
        return hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]

    @property
    def logs(self) -> Path:
        """Directory of one log per process."""
        return self.path / "logs"

    @property
    def mirrors(self) -> Path:
        """Directory of the hub's bare mirrors."""
        return self.path / "mirrors"

    @property
    def workspaces(self) -> Path:
        """Directory of the work trees."""
        return self.path / "workspaces"

    @property
    def pg(self) -> Path:
        """Directory of the embedded Postgres."""
        return self.path / "pg"

    @property
    def stack_file(self) -> Path:
        """The file that says what runs."""
        return self.path / "stack.json"

    @property
    def run_dir(self) -> Path:
        """Directory of the Unix sockets: in the home, or in /tmp when the home's path is too long for one."""
        inside = self.path / "run"
        if len(os.fsencode(inside)) <= _LONGEST_RUN_DIR:
            return inside
        return Path(f"/tmp/moorage-{os.geteuid()}-{self.mark}")  # noqa: S108 - prepare checks owner and mode

    @property
    def token(self) -> str:
        """The API token of this home, made at the first use."""
        return self._secret("token")

    @property
    def service_secret(self) -> str:
        """The secret the services of this home share, made at the first use."""
        return self._secret("secret")

    def prepare(self) -> None:
        """Make the home and its directories, readable by nobody else.

        Raises:
            HomeError: it is not ours, not a directory or not writable.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._directory(self.path)
            for part in (self.logs, self.mirrors, self.workspaces, self.pg, self.run_dir):
                self._directory(part)
        except (NotADirectoryError, FileExistsError) as error:
            raise HomeError(f"{error.filename} is not a directory; set MOORAGE_HOME to another path.") from error
        except OSError as error:
            reason = error.strerror or str(error)
            raise HomeError(f"{error.filename} cannot be made ({reason}); set MOORAGE_HOME to another path.") from error

    def _directory(self, path: Path) -> None:
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise HomeError(f"{path} is not a directory; set MOORAGE_HOME to another path.")
        if found.st_uid != os.geteuid():
            raise HomeError(f"{path} belongs to another user (uid {found.st_uid}); set MOORAGE_HOME to another path.")
        # A shared directory is refused and not narrowed: it may be somebody's /tmp.
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise HomeError(f"{path} is writable by other users; run chmod 700 on it or set MOORAGE_HOME.")
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            raise HomeError(f"{path} is not writable; run chmod 700 on it or set MOORAGE_HOME.")

    def _secret(self, name: str) -> str:
        path = self.path / name
        with contextlib.suppress(FileNotFoundError):
            return self._read(path)
        self.prepare()
        draft = self.path / f".{name}-{os.getpid()}-{secrets.token_hex(4)}"
        try:
            private.create(draft, secrets.token_urlsafe(32) + "\n")
            # A link, unlike a rename, never replaces what another process made first.
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(draft)
        except OSError as error:
            raise HomeError(
                f"{path} cannot be written ({error.strerror}); free some space or fix its rights."
            ) from error
        finally:
            draft.unlink(missing_ok=True)
        return self._read(path)

    @staticmethod
    def _read(path: Path) -> str:
        try:
            text = path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            raise
        except (OSError, UnicodeDecodeError) as error:
            raise HomeError(f"{path} cannot be read; remove it and a new one is made.") from error
        if not text:
            raise HomeError(f"{path} is empty; remove it and a new one is made.")
        return text
