"""The same real stack and sample repository that the system tests use."""

from tests.system.conftest import repository, stack

__all__ = ["repository", "stack"]
