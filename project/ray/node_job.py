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

SECONDS_TO_STOP = 60.0


def main() -> None:
    """Read the job, call it, and write what it returns to the file whose number is the argument."""
    import cloudpickle

    result = int(sys.argv[1])
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))  # Ray's workers hold one back
    source = os.fdopen(os.dup(0), "rb", buffering=0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    (size,) = struct.unpack("!Q", _read(source, 8))
    job = cloudpickle.loads(_read(source, size))  # our own head's
    threading.Thread(target=_obey, args=(source, job.stop), daemon=True).start()
    said = job()
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(result, json.dumps(said).encode())


def _read(source: Any, size: int) -> bytes:
    content = b""
    while len(content) < size:
        part = source.read(size - len(content))
        if not part:
            sys.exit("the head has gone")
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
            pass  # the head kills those that take too long
    time.sleep(SECONDS_TO_STOP)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
