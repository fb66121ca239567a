"""Waiting for a database that is away: its server restarts or fails over, or the network between is cut."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from project.errors import UserError
from project.sweeps.passwords import masked, scrubbed

T = TypeVar("T")
PATIENCE = 240.0  # seconds: shorter than the ranks of a training wait for each other
FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0  # seconds between two tries


class Away(UserError):
    """The database has been away for longer than was to be waited."""


class Patience:
    """How long the threads of a process try to reach a database again.

    Args:
        seconds: from the first failure on.
        url: the database's.
        told: takes a line when the database is missed and when it is back; None: `print`.
    """

    def __init__(self, seconds: float, url: str, told: Callable[[str], None] | None = None) -> None:
        self.seconds, self.url, self.told = seconds, url, told or print
        self.hurried: Callable[[], bool] = lambda: False  # whether somebody waits for this process to end
        self._lock = threading.Lock()
        self._since: float | None = None
        self._last: float | None = None
        self._said = False

    def again(self, work: Callable[[], T]) -> T:
        """What `work` returns, tried until the database answers; a try that succeeded unheard must do the next no harm.

        Raises:
            Away: it did not answer in time; at once, when it was given up before and still does not.
        """
        tries = 0
        while True:
            try:
                found = work()
            except Exception as error:  # SQLAlchemy's errors, Optuna's around them, and the drivers' share no base
                if not is_away(error):
                    raise
                self._missed(tries, scrubbed(_reason(error), self.url))
            else:
                self._found()
                return found
            wait = min(LONGEST_WAIT, FIRST_WAIT * 2**tries)
            time.sleep(wait * random.uniform(0.5, 1.0))  # a thousand workers do not come back at the same moment
            tries += 1

    def missed_within(self, seconds: float) -> bool:
        """Whether a try failed in the last `seconds`."""
        return self._last is not None and time.monotonic() - self._last < seconds

    def _missed(self, tries: int, reason: str) -> None:
        with self._lock:
            self._last = time.monotonic()
            self._since = self._last if self._since is None else self._since
            gone = self._last - self._since
            if gone < self.seconds and not self.hurried():
                if tries > 0 and not self._said:  # a connection that was cut is often there again at once
                    self._said = True
                    self.told(f"the database is away: trying again for up to {self.seconds:g} s ({reason})")
                return
        raise Away(
            f"the database {masked(self.url)} has been away for {gone:.0f} s, sweep.patience={self.seconds:g} "
            f"({reason}). The same command goes on when it is back"
        ) from None

    def _found(self) -> None:
        if self._since is None:
            return
        with self._lock:
            if self._said and self._since is not None:
                self.told(f"the database is back after {time.monotonic() - self._since:.1f} s")
            self._since, self._said = None, False


def is_away(error: BaseException) -> bool:
    """Whether the same may succeed later: the connection failed, or another's transaction was in the way."""
    from sqlalchemy import exc

    later = (exc.OperationalError, exc.InterfaceError, exc.PendingRollbackError, exc.TimeoutError)
    return any(
        isinstance(link, later) or (isinstance(link, exc.DBAPIError) and link.connection_invalidated)
        for link in _chain(error)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised for, also where that is not to be shown."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _reason(error: BaseException) -> str:
    """In a few words, without the statement; drivers tell no password, but the user and the host."""
    from sqlalchemy import exc

    found = next((link for link in _chain(error) if isinstance(link, exc.DBAPIError)), None)
    text = str(error if found is None else found.orig).strip()
    return " ".join(text.partition("\n")[0].split())[:200]
