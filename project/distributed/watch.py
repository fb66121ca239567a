"""Every process of a training knows within seconds that another one was lost, and which.

Each holds a connection to rank 0 and sends a sign of life over it, from a thread: a process that computes, or writes a
checkpoint for minutes, is not silent. The kernel closes a killed process's connection at once; a host that is gone, or
a link that is cut, is silent. Rank 0 tells the others whom it misses; who misses rank 0 needs nobody to tell it. A
collective operation would wait for the lost one for ever, deaf to signals, so the thread ends its process when that
does not end by itself.
"""

import contextlib
import json
import logging
import os
import secrets
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from project.distributed.family import children
from project.distributed.launch import myself

LONGEST_LINE = 65536  # bytes
SECONDS_TO_DRAIN = 1.0
SECONDS_TO_COLLECT = 1.0  # a lost host takes several ranks along, and all are to be named
Exchange = Callable[[Any], Any]  # hands rank 0's object to every rank


@dataclass
class Peer:
    """The other end of a connection."""

    connection: socket.socket
    heard: float
    rank: int | None = None  # until it has said so
    buffer: bytes = b""
    left: bool = False


@dataclass
class Loss:
    """What ended the training: ranks that are gone, or an error of one rank."""

    ranks: list[int]
    text: str
    error: bool = False
    stopped: bool = False  # on purpose


class Watch:
    """This process's connections to the others of its training.

    Args:
        rank: of this process.
        world_size: how many there are.
        timeout: seconds within which all end after a loss; half of them without a sign of life are a loss.
        advice: says how to go on after a loss.
        met: called once all have come, in rank 0.
    """

    def __init__(
        self,
        rank: int,
        world_size: int,
        timeout: float,
        advice: Callable[[], str],
        met: Callable[[], None] = lambda: None,
    ) -> None:
        self.rank, self.world_size, self.timeout, self.advice, self.met = rank, world_size, timeout, advice, met
        self.arrival = timeout  # seconds within which all must have come
        self.patience = timeout / 2
        self.beat = min(5.0, self.patience / 5)
        self.grace = min(5.0, timeout / 5)
        self.loss: Loss | None = None
        self.decided = threading.Event()
        self.names = {rank: myself(rank)}
        self.owner = os.getpid()
        self._peers: list[Peer] = []
        self._missed: dict[int, str] = {}
        self._since = self._first_missed = 0.0
        self._left = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._listener: socket.socket | None = None
        self._token = ""
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self, exchange: Exchange, address: str | None) -> None:
        """Connect to the others.

        Args:
            exchange: hands rank 0's object to every rank.
            address: of rank 0 for other hosts; None: all are on this one.

        Raises:
            OSError: rank 0 cannot be reached within the timeout.
        """
        host, port, self._token = exchange(self._listen(address) if self.rank == 0 else None)
        if self.rank > 0:
            connection = socket.create_connection((host, port), timeout=self.timeout)
            peer = self._add(connection, 0)
            self._send(peer, hello=self.rank, token=self._token, name=self.names[self.rank])
        self._since = time.monotonic()
        self._thread.start()

    def leave(self, error: str | None = None, stopped: bool = False) -> None:
        """This process has done its part.

        Args:
            error: why it ends before that, and so must the others.
            stopped: it was asked to.
        """
        if self._left.is_set() or os.getpid() != self.owner:
            return
        if self.loss is None:
            for peer in list(self._peers):
                self._send(peer, left=True, error=error, stopped=stopped)
        self._left.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(2 * self.beat)

    def reason(self, seconds: float) -> Loss | None:
        """What was lost, if that turns out within so many seconds."""
        self.decided.wait(seconds)
        return self.loss

    def tells(self) -> bool:
        """Whether this process tells people: of an error rank 0 does, of a loss the first that remains on its host."""
        assert self.loss is not None
        if self.loss.error:
            return self.rank == 0
        here = _host(self.names[self.rank])
        left = [rank for rank, name in self.names.items() if rank not in self.loss.ranks and _host(name) == here]
        return self.rank == min(left, default=self.rank)

    def _listen(self, address: str | None) -> tuple[str, int, str]:
        self._listener = socket.socket()
        try:
            self._listener.bind(("127.0.0.1" if address is None else socket.gethostbyname(address), 0))
        except OSError:  # its name leads elsewhere, e.g. through a forwarded port
            self._listener.bind(("", 0))
        self._listener.listen(self.world_size)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._token = secrets.token_hex(16)
        return address or "127.0.0.1", self._listener.getsockname()[1], self._token

    def _add(self, connection: socket.socket, rank: int | None) -> Peer:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = Peer(connection, time.monotonic(), rank)
        self._peers.append(peer)
        self._selector.register(connection, selectors.EVENT_READ, peer)
        return peer

    def _run(self) -> None:
        beaten = 0.0
        while not self._left.is_set() and self.loss is None:
            for key, _ in self._selector.select(min(0.2, self.beat)):
                if key.data is None:
                    with contextlib.suppress(OSError):
                        self._add(key.fileobj.accept()[0], None)  # type: ignore[union-attr]
                else:
                    self._read(key.data)
            now = time.monotonic()
            if now - beaten >= self.beat:
                beaten = now
                for peer in list(self._peers):
                    self._send(peer, beat=True)
            self._judge(now)
        self._close()
        if self.loss is not None and not self._left.wait(self.grace):
            self._end()

    def _read(self, peer: Peer) -> None:
        try:
            received = peer.connection.recv(LONGEST_LINE)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received or len(peer.buffer) > LONGEST_LINE:
            self._drop(peer)
            return
        peer.heard = time.monotonic()
        *lines, peer.buffer = (peer.buffer + received).split(b"\n")
        for line in lines:
            try:
                said = json.loads(line)
                self._heed(peer, said)
            except (ValueError, TypeError, KeyError, AttributeError):  # not one of ours
                self._drop(peer)
                return

    def _heed(self, peer: Peer, said: dict[str, Any]) -> None:
        if peer.rank is None:
            if not secrets.compare_digest(str(said["token"]), self._token):
                self._drop(peer)
                return
            peer.rank = int(said["hello"])
            self.names[peer.rank] = str(said["name"])
            if len(self.names) == self.world_size:
                self.met()
                for other in self._peers:
                    self._send(other, names=self.names)
        elif "names" in said:
            self.names = {int(rank): str(name) for rank, name in said["names"].items()}
        elif "lost" in said:
            ranks = [int(rank) for rank in said["lost"]]
            self._decide(Loss(ranks, str(said["text"]), bool(said["error"]), bool(said["stopped"])))
        elif "left" in said:
            peer.left = True
            if said.get("error") is not None:
                text = f"{self._name(peer.rank)} ended: {said['error']}"
                self._decide(Loss([peer.rank], text, True, bool(said["stopped"])))

    def _drop(self, peer: Peer) -> None:
        if peer in self._peers:
            self._peers.remove(peer)
            self._selector.unregister(peer.connection)
            peer.connection.close()
        if peer.rank is not None and not peer.left:
            self._missed.setdefault(peer.rank, "its process ended")

    def _judge(self, now: float) -> None:
        """Whether a rank is missed, and for how long."""
        for peer in self._peers:
            if peer.rank is not None and not peer.left and now - peer.heard > self.patience:
                self._missed.setdefault(peer.rank, f"no answer for {self.patience:.0f} s")
        if self.rank == 0 and now - self._since > self.arrival:
            for rank in set(range(self.world_size)) - set(self.names):
                self._missed.setdefault(rank, f"it did not come within {self.arrival:.0f} s")
        if not self._missed:
            self._first_missed = now
        elif now - self._first_missed > min(SECONDS_TO_COLLECT, self.grace):
            ranks = sorted(self._missed)
            names = " and ".join(self._name(rank) for rank in ranks)
            why = "; ".join(dict.fromkeys(self._missed[rank] for rank in ranks))
            lost = f"{names} {'was' if len(ranks) == 1 else 'were'} lost: {why}"
            self._decide(Loss(ranks, f"{lost}.\n{self.advice()}"))

    def _name(self, rank: int) -> str:
        return self.names.get(rank, f"rank {rank}")

    def _decide(self, loss: Loss) -> None:
        if self.loss is not None:
            return
        for peer in list(self._peers):
            self._send(peer, lost=loss.ranks, text=loss.text, error=loss.error, stopped=loss.stopped)
        self.loss = loss
        if not loss.stopped:
            _note(loss.text)
        self.decided.set()

    def _send(self, peer: Peer, **message: Any) -> None:
        with contextlib.suppress(OSError):  # who cannot be reached is missed when it is silent
            peer.connection.send(json.dumps(message).encode() + b"\n")

    def _close(self) -> None:
        """What was said last is to arrive: a connection that is closed with something unread in it is reset."""
        for peer in self._peers:
            with contextlib.suppress(OSError):
                peer.connection.shutdown(socket.SHUT_WR)
        end = time.monotonic() + SECONDS_TO_DRAIN
        for peer in self._peers:
            with contextlib.suppress(OSError):
                while (rest := end - time.monotonic()) > 0:
                    peer.connection.settimeout(rest)
                    if not peer.connection.recv(LONGEST_LINE):
                        break
            peer.connection.close()
        if self._listener is not None:
            self._listener.close()
        self._selector.close()

    def _end(self) -> None:
        """The training waits for one who never comes: this process ends, with all that it has started."""
        assert self.loss is not None
        if self.tells():
            print(f"error: {self.loss.text}", file=sys.stderr, flush=True)
        for child in children(os.getpid()):
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)
        os._exit(1)


def _note(text: str) -> None:
    """Into the run's log alone: the terminal is told once, at the end."""
    line = logging.LogRecord(__name__, logging.ERROR, __file__, 0, text, None, None)
    for handler in logging.getLogger("project").handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(line)


def _host(name: str) -> str:
    return name.partition("(")[2].partition(",")[0]
