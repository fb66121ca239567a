"""Things come in their order, each made by one other thread while the one before it is used."""

import threading
from collections.abc import Iterator

import pytest

from project.data.ahead import ahead


def test_the_same_things_in_the_same_order() -> None:
    assert list(ahead(range(50))) == list(range(50))
    assert list(ahead(range(0))) == []


def test_the_next_one_is_made_meanwhile_and_no_further_one() -> None:
    made = [threading.Event() for _ in range(4)]
    makers = set[int]()

    def make() -> Iterator[int]:
        for number, event in enumerate(made):
            makers.add(threading.get_ident())
            event.set()
            yield number

    for number in ahead(make()):
        if number + 1 < len(made):
            assert made[number + 1].wait(60)
        assert not any(event.is_set() for event in made[number + 2 :])
    assert len(makers) == 1
    assert threading.get_ident() not in makers


def test_what_goes_wrong_in_making_is_raised_at_its_place() -> None:
    def make() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    things = ahead(make())
    assert next(things) == 1
    with pytest.raises(ZeroDivisionError):
        next(things)


def test_who_stops_early_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    things = ahead(iter(int, 1))  # without end
    assert [next(things) for _ in range(3)] == [0, 0, 0]
    things.close()
    assert threading.active_count() == before
