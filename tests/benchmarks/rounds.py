"""Compare the run times of several functions in one process.

In each round every function runs once.  So other load on the machine slows all functions alike, and the ratio of their
times within a round is more reliable than the times themselves.
"""

import statistics
import time
from collections.abc import Callable, Sequence


def interleaved_seconds(functions: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Return the seconds that each function takes in each round: one list of `rounds` numbers for each function.

    One more round runs first and is not counted, because it includes the tracing of TensorFlow functions.
    """
    seconds = [[] for _ in functions]
    for round_number in range(rounds + 1):
        for function, times in zip(functions, seconds, strict=True):
            started = time.perf_counter()
            function()
            if round_number:
                times.append(time.perf_counter() - started)
    return seconds


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Return the median over the rounds of the ratio of two functions' seconds."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))
