"""Processes that a test starts, stops, kills and leaves no trace of."""

import multiprocessing
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from project.errors import UserError

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


def within_limits(work: Callable[[], str]) -> str:
    """What `work` returns, or says in a `UserError`, within 5 seconds and half a GiB; otherwise how it was ended."""

    def limited(send: Callable[[Any], None]) -> None:
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + 2**29, size + 2**29))
        resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
        try:
            send(work())
        except UserError as error:
            send(str(error))
        except MemoryError:
            send("out of memory")

    with process(limited) as (child, receive):
        try:
            return str(receive())
        except EOFError:
            child.join()
            return f"ended with {child.exitcode}"
