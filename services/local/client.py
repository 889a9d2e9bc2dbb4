"""The orchestrator's API over plain HTTP. Knows routes only by name, and no terminal.

The standard library's client is enough for one request at a time and is imported in a fifth of the time.
"""

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from services.local.cli_errors import Refusal, Refused, Unreachable
from services.local.cli_settings import Server

TIMEOUT_S = 30.0
MAX_BODY = 256 * 1024 * 1024
"""Bytes of an answer that is read whole."""


class Api:
    """One server, one connection per request; every wait is limited by `timeout_s` seconds."""

    def __init__(self, server: Server, *, timeout_s: float = TIMEOUT_S) -> None:
        self.server = server
        self.timeout_s = timeout_s

    def get(self, path: str, *, accept: str = "application/json") -> bytes:
        """Return the body of a GET.

        Raises:
            Refusal: the server answered with an error.
            Unreachable: it did not answer.
        """
        with self.open("GET", path, headers={"Accept": accept}) as response:
            return self._body(response)

    def get_json(self, path: str) -> Any:
        """Return the JSON body of a GET; raises as `get` does."""
        return self._json(self.get(path), path)

    def post_json(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON body of the answer to a POST; raises as `get` does."""
        content = None if body is None else json.dumps(body).encode()
        with self.open("POST", path, content=content, headers={"Accept": "application/json"}) as response:
            return self._json(self._body(response), path)

    @contextmanager
    def open(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        silence_s: float | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a request and yield its answer to be read; no single wait takes over `silence_s` seconds.

        Raises:
            Refusal: the server answered with an error.
            Unreachable: it cannot be reached, or went away before or while the answer was read.
        """
        connection = self._connection(silence_s or self.timeout_s)
        try:
            self._send(connection, method, path, content, dict(headers or {}))
            response = connection.getresponse()
            if response.status >= 300:
                raise _refusal(response, path)
            yield response
        except ConnectionRefusedError as error:
            raise Refused(self._nobody()) from error
        except TimeoutError as error:
            raise Unreachable(f"{self.server.url} does not answer; see its log, or `./moorage doctor`.") from error
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            reason = str(error) or type(error).__name__
            raise Unreachable(f"The connection to {self.server.url} failed ({reason}); try again.") from error
        finally:
            connection.close()

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        parts = urlsplit(self.server.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(parts.hostname or "", parts.port, timeout=timeout_s)

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        content: bytes | None,
        headers: dict[str, str],
    ) -> None:
        if content is not None:
            headers["Content-Type"] = "application/json"
        if self.server.token:
            headers["Authorization"] = f"Bearer {self.server.token}"
        # A body that is too large is refused before it is read; the answer is there all the same.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, urlsplit(self.server.url).path + path, body=content, headers=headers)

    def _nobody(self) -> str:
        if self.server.home is None:
            return f"Nobody answers at {self.server.url}; check MOORAGE_URL."
        return f"No stack answers at {self.server.url}; start one with `./moorage up --detach`."

    @staticmethod
    def _body(response: http.client.HTTPResponse) -> bytes:
        body = response.read(MAX_BODY + 1)
        if len(body) > MAX_BODY:
            raise Unreachable(f"The answer is larger than {MAX_BODY:,} bytes; fetch it with another client.")
        return body

    def _json(self, body: bytes, path: str) -> Any:
        try:
            return json.loads(body)
        except ValueError as error:
            raise Unreachable(f"{self.server.url} answered {path} with something else; is it Moorage?") from error


def _refusal(response: http.client.HTTPResponse, path: str) -> Refusal:
    try:
        error = json.loads(response.read(1_000_000))["error"]
        return Refusal(response.status, str(error["code"]), str(error["message"]))
    except (ValueError, LookupError, TypeError):
        return Refusal(response.status, "", f"The server answered {response.status} {response.reason} to {path}.")
