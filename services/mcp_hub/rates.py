"""How often something may happen for each of many keys, and how often it was refused. Knows no subject."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float
    refused: int = 0


class Rates:
    """Lets `per_s` a second pass for each key, and `burst` at once; one thread at a time."""

    def __init__(self, per_s: float, burst: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._burst = float(burst)
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def allow(self, key: str) -> bool:
        """Whether one more may pass now; one that may not is counted."""
        now = self._clock()
        bucket = self._buckets.setdefault(key, _Bucket(self._burst, now))
        bucket.left, bucket.at = self._level(bucket, now), now
        if bucket.left < 1:
            bucket.refused += 1
            return False
        bucket.left -= 1
        return True

    def take_refused(self) -> dict[str, int]:
        """Return how many were refused of each key since the last look, and forget keys that have been quiet."""
        refused = {key: bucket.refused for key, bucket in self._buckets.items() if bucket.refused}
        now = self._clock()
        for key, bucket in list(self._buckets.items()):
            bucket.refused = 0
            if self._level(bucket, now) >= self._burst:
                del self._buckets[key]
        return refused

    def _level(self, bucket: _Bucket, now: float) -> float:
        return min(self._burst, bucket.left + (now - bucket.at) * self._per_s)
