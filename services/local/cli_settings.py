"""Which server the command line talks to, and what the terminal's owner asked for. Knows no command."""

import json
from dataclasses import dataclass
from urllib.parse import urlsplit

from services.local.cli_errors import CliError, ExitCode
from services.local.home import Home, environment
from services.local.processes import Process


@dataclass(frozen=True, slots=True)
class Server:
    """An orchestrator's address and token; `home` is the home whose stack it is, None when MOORAGE_URL names it."""

    url: str
    token: str | None
    home: Home | None


def named_server() -> Server | None:
    """Return the server that MOORAGE_URL and MOORAGE_TOKEN name, or None when there is no MOORAGE_URL.

    Raises:
        CliError: MOORAGE_URL is no address.
    """
    variables = environment()
    url = variables.get("MOORAGE_URL", "").strip().rstrip("/")
    if not url:
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.username or parts.query or parts.fragment:
        raise CliError(
            "MOORAGE_URL is not an address; write it as http://host:port, and a token in MOORAGE_TOKEN.", ExitCode.USAGE
        )
    token = variables.get("MOORAGE_TOKEN", "").strip()
    if not token.isascii() or not token.isprintable():
        raise CliError("MOORAGE_TOKEN holds characters that no token has; set it again.", ExitCode.USAGE)
    return Server(url, token or None, None)


def running_server(home: Home) -> Server | None:
    """Return the server of a home's stack if its supervisor lives, or None.

    The ledger is read by hand here: importing its model takes longer than the request that follows.
    """
    try:
        ledger = json.loads(home.stack_file.read_bytes())
        supervisor = ledger["supervisor"]
        # Whoever has the port of a dead stack must not be sent its token.
        if Process(int(supervisor["pid"]), str(supervisor["started"])).alive:
            return Server(str(ledger["address"]), home.token, home)
    except (OSError, ValueError, LookupError, TypeError):
        pass
    return None


def wants_no_colour() -> bool:
    """Whether NO_COLOR is set, or the terminal can do nothing but print."""
    variables = environment()
    return bool(variables.get("NO_COLOR")) or variables.get("TERM") == "dumb"
