"""What a killed stack leaves behind, and its removal. Knows no supervisor."""

import shutil
from signal import SIGKILL, SIGTERM

from services.local import postgres
from services.local.errors import LocalError
from services.local.home import Home
from services.local.processes import end, marked, working_in

MARK = "MOORAGE_HOME_MARK"
"""Every process of a stack has its home's mark in its environment under this name."""

_LIMIT_S = 3.0


def sweep(home: Home) -> None:
    """End every process of the home's stack but the caller, and remove its sockets and `stack.json`.

    Raises:
        LocalError: a process does not end, not even killed.
    """
    data = home.pg / "data"
    # Postgres goes last: the others may still have something to write.
    servers = working_in(data)
    left = end([process for process in marked(MARK, home.mark) if process not in servers], SIGTERM, _LIMIT_S)
    left = end(left, SIGKILL, _LIMIT_S)
    if left:
        raise LocalError(f"A process of an old stack (pid {left[0].pid}) does not end; end it by hand and try again.")
    postgres.end_leftovers(data)
    shutil.rmtree(home.run_dir, ignore_errors=True)
    home.stack_file.unlink(missing_ok=True)
