"""A stop is found again behind what a library made of it."""

import signal

from project.errors import Stopped, stop_behind


def _cleaned_up_badly(stop: BaseException) -> BaseException:
    """What is raised by a library that is interrupted by `stop`, and fails while it cleans up."""
    try:
        try:
            try:
                raise stop
            finally:
                raise AttributeError("half undone")
        except AttributeError as error:
            raise ValueError("cannot be read") from error
    except ValueError as error:
        return error


def test_a_stop_is_found_behind_the_errors_that_it_caused() -> None:
    stop = Stopped("stopped by SIGTERM", signal.SIGTERM)
    assert stop_behind(_cleaned_up_badly(stop)) is stop
    assert stop_behind(stop) is stop
    assert stop_behind(_cleaned_up_badly(KeyError("another"))) is None
