"""A lock between processes that ends with its holder. Knows nothing of what it guards."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from services.local.errors import LocalError

_LOOK_EVERY_S = 0.05


@contextlib.contextmanager
def locked(path: Path, limit_s: float, *, busy: str) -> Iterator[None]:
    """Hold the lock file `path`, waiting at most `limit_s` seconds for another holder.

    Raises:
        LocalError: `busy`, when it was held all that time.
    """
    # Not inherited over exec: a child that outlives us must not hold it.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + limit_s
        while not _taken(descriptor):
            if time.monotonic() > deadline:
                raise LocalError(busy)
            time.sleep(_LOOK_EVERY_S)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
