"""A real PostgreSQL server for a test, on loopback, in a folder of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import pytest

from project.benchmarks.postgres import Server, programs, server

PASSWORD = "p@ss:w/rd%"  # every sign that a URL minds


@contextmanager
def postgres(*options: str) -> Iterator[Server]:
    """A server that can be stopped and started; the test is skipped where there is none."""
    if programs() is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    pytest.importorskip("psycopg", reason="psycopg is not installed (pip install '.[postgres]')")
    with server(PASSWORD, "-c", "fsync=off", *options) as made:
        yield made


@contextmanager
def postgres_url() -> Iterator[str]:
    """The URL of an empty database."""
    with postgres() as made:
        yield made.url


def quoted(text: str) -> str:
    return quote(text, safe="")
