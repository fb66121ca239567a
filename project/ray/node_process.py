"""A process on a node of a cluster, and who looks after it there.

This module is sent to the nodes by value, so it imports nothing of the project: where that is not installed, the
process says so.
"""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from typing import Any

MODULE = "project.ray.node_job"  # what the process runs
KEPT = 2**20  # bytes of output that wait for the head; older ones are dropped
STOP = b"s"


class NodeProcess:
    """Starts one process, hands on what it says, and ends it. Its methods may be called from several threads.

    The process dies with this one: it reads the end of its standard input.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._output = bytearray()
        self._process: subprocess.Popen[bytes] | None = None
        self._code: int | None = None
        self._result = b""
        self._heard_all = False

    def begin(self, payload: bytes, folder: str, python_path: str, threads: int, gpus: bool) -> dict[str, Any]:
        """Start the process.

        Args:
            payload: what it is sent.
            folder: its working directory; made if this node has none of the name.
            python_path: further places of modules; the node's own come first.
            threads: CPU threads.
            gpus: whether it sees those that this process was given.

        Raises:
            OSError: the folder cannot be made.
        """
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        paths = [path for path in (os.environ.get("PYTHONPATH"), python_path) if path]
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "") if gpus else ""
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "OMP_NUM_THREADS": str(threads),
            "CUDA_VISIBLE_DEVICES": seen,
        }
        receiver, sender = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-m", MODULE, str(sender)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
            pass_fds=(sender,),
            start_new_session=True,
        )
        os.close(sender)
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._await, args=(receiver,), daemon=True).start()
        self._send(struct.pack("!Q", len(payload)) + payload)
        return {"host": socket.gethostname(), "pid": self._process.pid, "gpus": seen}

    def news(self, seconds: float) -> tuple[bytes, int | None, bytes]:
        """What the process has said since the last call, its exit code (None: it runs), and its result.

        Args:
            seconds: how long to wait for any of it.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._output or self._code is not None, seconds)
            said = bytes(self._output)
            self._output.clear()
            return said, self._code, self._result

    def stop(self) -> None:
        """Ask the process to write what it needs to go on, and end."""
        self._send(STOP)

    def kill(self) -> None:
        """End the process and those that it has started."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _send(self, content: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it has ended, which is told by its exit code
            self._process.stdin.write(content)
            self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while said := os.read(self._process.stdout.fileno(), 65536):
            with self._changed:
                self._output += said
                del self._output[:-KEPT]
                self._changed.notify_all()
        with self._changed:
            self._heard_all = True
            self._changed.notify_all()

    def _await(self, receiver: int) -> None:
        assert self._process is not None
        code = self._process.wait()
        self.kill()  # what it has left behind, which may hold its pipes open
        os.set_blocking(receiver, False)
        with contextlib.suppress(BlockingIOError):
            self._result = os.read(receiver, 65536)
        os.close(receiver)
        with self._changed:
            self._changed.wait_for(lambda: self._heard_all, 2)
            self._code = code
            self._changed.notify_all()
