"""Questions to the GPU in a process of their own: who has used it cannot fork processes that use it."""

import os
from collections.abc import Callable


def in_a_child(question: Callable[[], bool]) -> bool:
    """The answer of a forked process; False where that fails."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if question() else 1
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0
