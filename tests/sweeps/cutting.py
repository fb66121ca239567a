"""A wire between a worker and its database that a test can cut, at the worst moment."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Wire:
    """Passes bytes on between clients and the server at `port`.

    Attributes:
        port: where it listens.
        lose_answer_to: once a client has said this, the server hears it and the client never hears the answer: the
            connection is cut. Once, then it is forgotten. None: nothing is lost.
        lose: the same, but the server does not hear it either.
        cut: how often that has happened.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.lose_answer_to: bytes | None = None
        self.lose: bytes | None = None
        self.cut = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """No more connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for one
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                deaf = threading.Event()  # the client hears no more
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(source, sink, deaf), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, deaf: threading.Event) -> None:
        from_client = source.getsockname()[1] == self.port
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if from_client and self.lose is not None and self.lose in data:
                    self.lose, self.cut = None, self.cut + 1
                    break
                if from_client and self.lose_answer_to is not None and self.lose_answer_to in data:
                    self.lose_answer_to, self.cut = None, self.cut + 1
                    deaf.set()
                if not from_client and deaf.is_set():
                    break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextmanager
def wire(target: int) -> Iterator[Wire]:
    """A wire to the server at `target`, for as long as the block runs."""
    made = Wire(target)
    try:
        yield made
    finally:
        made.close()
