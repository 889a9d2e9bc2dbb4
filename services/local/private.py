"""Files that only their owner reads. Knows no content."""

import os
from pathlib import Path


def create(path: Path, text: str) -> None:
    """Make a file of mode 0600 with `text`, on disk when this returns.

    Raises:
        FileExistsError: there is one already.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
