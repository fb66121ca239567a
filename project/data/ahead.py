"""Something made by another thread while what was made before it is used."""

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(made: Iterable[T]) -> Generator[T, None, None]:
    """The same in the same order, one item ahead: for numpy's random numbers, which come one after the other.

    Raises:
        Exception: what making the next item raised.
    """
    items = iter(made)
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, items, None)
        while (item := following.result()) is not None:
            following = pool.submit(next, items, None)
            yield item
