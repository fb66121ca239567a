"""What a launcher can do beyond Hydra's interface, and the head of a sweep makes use of."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Stoppable(Protocol):
    """A launcher whose jobs can be ended while it waits for them."""

    def stopping(self) -> None:
        """The jobs have been asked to end: none is started again, and those that don't heed it are killed in time."""

    def kill(self) -> None:
        """End all jobs at once."""


@runtime_checkable
class Prepared(Protocol):
    """A launcher that needs something that may not be there."""

    def prepare(self) -> None:
        """Find out before anything is written.

        Raises:
            UserError: what is missing.
        """
