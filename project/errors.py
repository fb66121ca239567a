"""What ends a command on purpose: mistakes that the person at the keyboard can mend, and stops that were asked for."""


class UserError(Exception):
    """What is wrong, the value, what to do, in one or two lines: printed without a stack trace; the exit code is 1."""


class NeverLogged(UserError):
    """A value that is to be watched or optimised, and that the task never logs: no training of the task can mend it."""


class Stopped(BaseException):
    """The run was asked to stop and has written what it needs to go on.

    Like `KeyboardInterrupt` no `Exception`: it arrives anywhere, also where a library turns every exception into one of
    its own.

    Args:
        message: says how to go on.
        signal: the signal that asked; the exit code is 128 + its number, as shells expect.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal

    def __reduce__(self) -> tuple[type["Stopped"], tuple[str, int]]:
        return Stopped, (str(self), self.signal)


class LostRank(UserError):
    """Another process of this training is gone, or ended with an error: says which, and how to go on.

    Args:
        message: names the rank.
        told: whether this process is the one that tells people.
    """

    def __init__(self, message: str, told: bool = True) -> None:
        super().__init__(message)
        self.told = told

    def __reduce__(self) -> tuple[type["LostRank"], tuple[str, bool]]:
        return LostRank, (str(self), self.told)


def stop_behind(error: BaseException) -> Stopped | None:
    """The stop that `error` hides: it arrives anywhere, also where a library cleans up, and fails at that."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if isinstance(one, Stopped):
            return one
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            left += [one.__cause__, one.__context__]
    return None
