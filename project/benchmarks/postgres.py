"""A PostgreSQL server of this machine's programs, on loopback, in a folder of its own, for as long as it is used."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

PROGRAMS = Path("/usr/lib/postgresql")
SECONDS_TO_START = 120.0


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
        self.place, self.data = place, home / "data"
        self.process: subprocess.Popen[bytes] | None = None
        make = ["-A", "scram-sha-256", "-U", "me", f"--pwfile={secret}", "--no-sync", "-E", "UTF8", "--locale=C"]
        self._run("initdb", "-D", str(self.data), *make)
        secret.unlink()
        with socket.socket() as probe:  # as late as can be: nobody else is to take it before the server does
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.options = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", *options]
        self.url = f"postgresql+psycopg://me:{quote(password, safe='')}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and wait until it answers. It ends with the thread that calls this, however that ends."""
        ends_along = ["--pdeathsig=QUIT"] if shutil.which("setpriv") else []
        as_owner = self.as_owner or (["setpriv"] if ends_along else [])
        server = [str(self.place / "postgres"), "-D", str(self.data), "-p", str(self.port), *self.options]
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen([*as_owner, *ends_along, *server], cwd="/", stdout=log, stderr=log)
        ready = [str(self.place / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        end = time.monotonic() + SECONDS_TO_START
        while subprocess.run(ready, cwd="/").returncode != 0:
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"PostgreSQL did not start:\n{(self.home / 'log').read_text()[-2000:]}")
            time.sleep(0.1)

    def stop(self, how: str = "fast") -> None:
        """Stop it, if it runs: `fast` ends its connections, `immediate` is like a crash."""
        if self.process is not None:
            self._run("pg_ctl", "-D", str(self.data), "-w", "-s", "-m", how, "stop")
            self.process.wait(SECONDS_TO_START)
            self.process = None

    def _run(self, program: str, *words: str) -> None:
        command = [*self.as_owner, str(self.place / program), *words]
        subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL, timeout=SECONDS_TO_START)


@contextmanager
def server(password: str, *options: str) -> Iterator[Server]:
    """A running server; nothing is left of it at the end of the block."""
    home = Path(tempfile.mkdtemp(prefix="postgres-"))  # others' folders the server's user may not look into
    made = Server(home, password, list(options))
    try:
        made.start()
        yield made
    finally:
        made.stop("immediate")
        shutil.rmtree(home, ignore_errors=True)
