"""What goes wrong on this machine, as one sentence for the person at the terminal. Knows no cause."""


class LocalError(Exception):
    """Something the person is told in one sentence that says what to do next."""
