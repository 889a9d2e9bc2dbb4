"""What crosses a process: requests, events, results, errors. Pydantic and the standard library, no I/O."""
