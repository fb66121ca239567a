"""The process that a job on a cluster runs in; started by `node_process`, which speaks to its standard input."""

import contextlib
import json
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from project.sweeps.jobs import run_unpacked, unpacked
from project.sweeps.worker import STORAGE

SECONDS_TO_STOP = 60.0


def main() -> None:
    """Read the job, run it, and write `[status, value]` to the file whose number is the argument."""
    import cloudpickle

    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
    source = os.fdopen(os.dup(0), "rb", buffering=0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    (size,) = struct.unpack("!Q", _read(source, 8))
    shared, words, number, url = cloudpickle.loads(_read(source, size))  # our own launcher's
    os.environ[STORAGE] = url or ""
    context, config, task = unpacked(shared)
    stop = getattr(task, "stop", _stop_this)
    threading.Thread(target=_obey, args=(source, stop), daemon=True).start()
    said = run_unpacked(context, config, task, words, number)
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(int(sys.argv[1]), json.dumps(said).encode())


def _read(source: Any, size: int) -> bytes:
    content = b""
    while len(content) < size:
        part = source.read(size - len(content))
        if not part:
            sys.exit("the launcher has gone")
        content += part
    return content


def _obey(source: Any, stop: Callable[[], None]) -> None:
    """Stop the job when it is said so, or when nobody is there any more to say it."""
    if not source.read(1):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for output in (1, 2):  # nobody reads them, and to write would be an error
            os.dup2(nowhere, output)
    stop()
    with contextlib.suppress(OSError):
        while source.read(1):
            pass  # the launcher kills those that take too long
    time.sleep(SECONDS_TO_STOP)
    os.killpg(0, signal.SIGKILL)


def _stop_this() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
