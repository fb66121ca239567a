"""What ends a command on purpose: mistakes that the person at the keyboard can mend, and stops that were asked for."""


class UserError(Exception):
    """What is wrong, the value, what to do, in one or two lines: printed without a stack trace; the exit code is 1."""


class Stopped(Exception):
    """The run was asked to stop and has written what it needs to go on.

    Args:
        message: says how to go on.
        signal: the signal that asked; the exit code is 128 + its number, as shells expect.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal
