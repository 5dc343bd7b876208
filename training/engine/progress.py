"""How far a run is."""

import time

from tqdm import tqdm


class RunProgress:
    """Counts the mini-batches of all steps of a run, and estimates the time that the rest takes."""

    def __init__(self, total: int):
        self._total, self._done, self._done_here, self._started = total, 0, 0, time.monotonic()

    def skip(self, mini_batches: int) -> None:
        """Count mini-batches that an earlier process did."""
        self._done += mini_batches

    def advance(self, mini_batches: int) -> str:
        """Count mini-batches that this process did; returns a text such as "30%, 00:56 left"."""
        self._done, self._done_here = self._done + mini_batches, self._done_here + mini_batches
        left = (self._total - self._done) * (time.monotonic() - self._started) / max(self._done_here, 1)
        return f"{self._done / self._total:.0%}, {tqdm.format_interval(left)} left"
