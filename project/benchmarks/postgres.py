"""A PostgreSQL server of this machine's programs, on loopback, in a folder of its own, for as long as it is used."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

PROGRAMS = Path("/usr/lib/postgresql")


def programs() -> Path | None:
    """Where the newest server's programs are; None: it is not installed."""
    found = sorted(
        PROGRAMS.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]) if path.parts[-3].isdigit() else 0
    )
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).parent if initdb else None


class Server:
    """An empty database, which can be stopped and started again; `url` names it, whenever it runs.

    Args:
        home: a folder of its own, into which the server's user may look.
        password: of the user `me`.
        options: of the server, e.g. `["-c", "fsync=off"]`.
    """

    def __init__(self, home: Path, password: str, options: list[str]) -> None:
        place = programs()
        assert place is not None, "PostgreSQL is not installed"
        self.home, secret = home, home / "secret"
        secret.write_text(password)
        secret.chmod(0o600)
        self.as_owner: list[str] = []
        if os.getuid() == 0:  # which the server refuses to run as
            for path in (home, secret):
                shutil.chown(path, "postgres", "postgres")
            self.as_owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        make = ["-A", "scram-sha-256", "-U", "me", f"--pwfile={secret}", "--no-sync", "-E", "UTF8", "--locale=C"]
        self._run(str(place / "initdb"), "-D", str(home / "data"), *make)
        secret.unlink()
        self.control = [str(place / "pg_ctl"), "-D", str(home / "data"), "-w", "-s"]
        local = ["-p", str(self.port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=''"]
        self.options = " ".join([*local, *options])
        self.url = f"postgresql+psycopg://me:{quote(password, safe='')}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._run(*self.control, "-l", str(self.home / "log"), "-o", self.options, "start")

    def stop(self, how: str = "fast") -> None:
        """Stop it: `fast` ends its connections, `immediate` is like a crash."""
        self._run(*self.control, "-m", how, "stop")

    def runs(self) -> bool:
        """Whether it has been started, and not stopped."""
        return (self.home / "data" / "postmaster.pid").exists()

    def _run(self, *command: str) -> None:
        subprocess.run([*self.as_owner, *command], check=True, cwd="/", stdout=subprocess.DEVNULL, timeout=120)


@contextmanager
def server(password: str, *options: str) -> Iterator[Server]:
    """A running server; nothing is left of it at the end of the block."""
    home = Path(tempfile.mkdtemp(prefix="postgres-"))  # others' folders the server's user may not look into
    made = Server(home, password, list(options))
    try:
        made.start()
        yield made
    finally:
        if made.runs():
            made.stop("immediate")
        shutil.rmtree(home, ignore_errors=True)
