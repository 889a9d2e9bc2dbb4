"""Running git: its environment, configuration, limits and end. Knows no repository."""

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from services.chassis.errors import ServiceError
from services.wire.errors import ErrorCode

OUTPUT_LIMIT: Final = 64 * 1024 * 1024
"""Most bytes kept of a command's output."""

_STDERR_LIMIT: Final = 1024 * 1024
_GRACE_S: Final = 3.0

_QUIET: Final = {
    "LC_ALL": "C.UTF-8",
    "LANGUAGE": "",
    "GIT_TERMINAL_PROMPT": "0",
    # Empty rather than a program: git then fails with "could not read Username", which we can explain.
    "GIT_ASKPASS": "",
    "SSH_ASKPASS": "",
    "SSH_ASKPASS_REQUIRE": "never",
    "GCM_INTERACTIVE": "never",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_ADVICE": "0",
}
_ALWAYS: Final = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.askPass": "",
    "protocol.ext.allow": "never",
    "fetch.recurseSubmodules": "false",
    "submodule.recurse": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
}
_BATCH_SSH: Final = {"GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=15"}
_PROXIES: Final = ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


class GitFailedError(Exception):
    """Git ended with an error, or was ended; `stderr` is what it said."""

    def __init__(self, code: int, stderr: str) -> None:
        super().__init__(f"git exited with {code}")
        self.code = code
        self.stderr = stderr


@dataclass(frozen=True, slots=True)
class Output:
    """What a command printed, and how it ended."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        """Standard output without its last newline; bytes that are not UTF-8 survive a round trip."""
        return os.fsdecode(self.stdout).removesuffix("\n")


class Git:
    """Runs git commands with the user's environment made safe for a service."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {**environment, **_QUIET}
        self._own_ssh = "GIT_SSH_COMMAND" in environment or "GIT_SSH" in environment
        self.proxied = any(environment.get(name) for name in _PROXIES)

    async def ssh_environment(self) -> dict[str, str]:
        """Return what makes ssh never ask: nothing where the user has chosen an ssh command."""
        if self._own_ssh:
            return {}
        chosen = await self.run("config", "--get", "core.sshCommand", timeout_s=10, check=False)
        return {} if chosen.text else dict(_BATCH_SSH)

    async def run(
        self,
        *arguments: str,
        timeout_s: float,
        directory: Path | None = None,
        config: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        check: bool = True,
    ) -> Output:
        """Run a command to its end.

        Raises:
            GitFailedError: it failed and `check` is set.
            TimeoutError: it took longer than `timeout_s`; it has been ended.
        """
        with tempfile.TemporaryFile() as given:
            # A file, not a pipe: a command that ends without reading it is then no error of ours.
            given.write(stdin)
            given.seek(0)
            async with (
                asyncio.timeout(timeout_s),
                self.spawn(arguments, directory=directory, config=config, env=env, stdin=given) as process,
            ):
                output = await _communicate(process)
        if check and output.code != 0:
            raise GitFailedError(output.code, output.stderr)
        return output

    @contextlib.asynccontextmanager
    async def spawn(
        self,
        arguments: Sequence[str],
        *,
        directory: Path | None = None,
        config: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        stdin: int | IO[bytes] = asyncio.subprocess.DEVNULL,
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """Start a command; when the context closes it and all it started have ended."""
        place = () if directory is None else ("-C", str(directory))
        try:
            process = await asyncio.create_subprocess_exec(
                "git",
                *place,
                *arguments,
                stdin=stdin,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                # Configuration travels in the environment: an argument list is readable by every user of the machine.
                env={**self._environment, **self._configured({**_ALWAYS, **(config or {})}), **(env or {})},
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise ServiceError(ErrorCode.NOT_READY, "git is not installed here; install git 2.31 or newer.") from error
        try:
            yield process
        finally:
            await _end(process)

    def _configured(self, config: Mapping[str, str]) -> dict[str, str]:
        # After the user's own entries of this kind, so that ours win and theirs are kept.
        given = self._environment.get("GIT_CONFIG_COUNT", "0")
        first = int(given) if given.isdigit() else 0
        pairs = {"GIT_CONFIG_COUNT": str(first + len(config))}
        for number, (key, value) in enumerate(config.items(), start=first):
            pairs[f"GIT_CONFIG_KEY_{number}"] = key
            pairs[f"GIT_CONFIG_VALUE_{number}"] = value
        return pairs


async def _communicate(process: asyncio.subprocess.Process) -> Output:
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.TaskGroup() as group:
        stdout = group.create_task(read_at_most(process.stdout, OUTPUT_LIMIT), name="git stdout")
        stderr = group.create_task(read_at_most(process.stderr, _STDERR_LIMIT), name="git stderr")
    code = await process.wait()
    return Output(code, stdout.result(), stderr.result().decode(errors="replace"))


async def read_at_most(stream: asyncio.StreamReader, limit: int) -> bytes:
    """Read a stream to its end and return its first `limit` bytes."""
    kept = bytearray()
    while chunk := await stream.read(65536):
        kept += chunk[: max(0, limit - len(kept))]
    return bytes(kept)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    # SIGTERM first: git then removes its lock files, without which the next fetch would fail.
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_S):
                await _drained(process)
                return


async def _drained(process: asyncio.subprocess.Process) -> None:
    # Unread output would keep the pipes, and with them the transport, open for ever.
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            await read_at_most(stream, 0)
    await process.wait()


def quoted(path: Path) -> str:
    """Return a path as `GIT_ALTERNATE_OBJECT_DIRECTORIES` takes it, whatever characters it has."""
    text = str(path)
    if ":" not in text and not text.startswith('"'):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
