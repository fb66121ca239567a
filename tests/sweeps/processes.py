"""Processes that a test starts, stops, kills and leaves no trace of."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any

FORK = multiprocessing.get_context("fork")


@contextmanager
def process(work: Callable[[Callable[[Any], None]], None]) -> Iterator[tuple[BaseProcess, Callable[[], Any]]]:
    """`work` in a process of its own, which is killed at the end of the block.

    `work` is given a function that sends an object; the block is given the process and a function that receives one
    (`EOFError`: the process ended without sending it).
    """
    receiver, sender = FORK.Pipe(duplex=False)

    def run() -> None:
        receiver.close()
        work(sender.send)

    child = FORK.Process(target=run, daemon=True)
    child.start()
    sender.close()

    def receive() -> Any:
        assert receiver.poll(30), "nothing came within 30 seconds"
        return receiver.recv()

    try:
        yield child, receive
    finally:
        kill(child)
        receiver.close()


def kill(child: BaseProcess) -> None:
    """As `kill -9` does, and wait for its end."""
    if child.is_alive() and child.pid is not None:
        os.kill(child.pid, signal.SIGKILL)
    child.join()
