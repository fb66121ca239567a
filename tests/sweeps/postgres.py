"""A real PostgreSQL server for a test, on loopback, in a folder of its own."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PASSWORD = "p@ss:w/rd%"


def programs() -> Path | None:
    """Where the server's programs are; None: it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).parent if initdb else None


@contextmanager
def postgres_url() -> Iterator[str]:
    """The URL of an empty database, whose password has every sign that a URL minds."""
    place = programs()
    if place is None:
        pytest.skip("PostgreSQL is not installed")
    home = Path(tempfile.mkdtemp(prefix="postgres-"))  # below pytest's own folders the server's user may not look
    data, secret = home / "data", home / "secret"
    secret.write_text(PASSWORD)
    as_owner: list[str] = []
    if os.getuid() == 0:  # which the server refuses to run as
        for path in (home, secret):
            shutil.chown(path, "postgres", "postgres")
        as_owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    run = {"check": True, "cwd": "/", "stdout": subprocess.DEVNULL}
    make = ["-A", "scram-sha-256", "-U", "me", f"--pwfile={secret}", "--no-sync", "-E", "UTF8", "--locale=C"]
    subprocess.run([*as_owner, str(place / "initdb"), "-D", str(data), *make], **run)  # type: ignore[call-overload]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
    control = [*as_owner, str(place / "pg_ctl"), "-D", str(data), "-w", "-s"]
    subprocess.run([*control, "-l", str(home / "log"), "-o", options, "start"], **run)  # type: ignore[call-overload]
    try:
        yield f"postgresql+psycopg://me:{quoted(PASSWORD)}@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **run)  # type: ignore[call-overload]
        shutil.rmtree(home, ignore_errors=True)


def quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")
