"""Read pictures in other threads while the network works on those before them."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

READ_AHEAD = 4  # pictures that are read, or being read, before they are asked for
_THREADS = 2

_Value = TypeVar("_Value")


def read_ahead(read: Callable[..., _Value], arguments: Iterable[tuple[Any, ...]]) -> Iterator[_Value]:
    """The value of `read(*argument)` for each of the arguments, in their order.

    At most `READ_AHEAD` values wait at any time.  An error of `read` is raised where its value would come.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        waiting: deque[Future[_Value]] = deque()
        for argument in arguments:
            waiting.append(pool.submit(read, *argument))
            if len(waiting) > READ_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
