"""Fetch a file from the network: verified before it is moved into place, and told at once where it fails."""

import hashlib
import shutil
import socket
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from filelock import FileLock
from tqdm import tqdm  # type: ignore[import-untyped]

from project.errors import UserError

PATIENCE = 1.5  # seconds for name and connection together; afterwards the network counts as absent


@dataclass(frozen=True)
class Download:
    """One published file: its place below a data set's root, and its digest, "sha256:..." or "md5:..."."""

    title: str
    url: str
    place: str
    digest: str

    def remedy(self, root: Path) -> str:
        return f"Put the file at {root.resolve() / self.place}, or say where it is with data.root=..."

    def provide(self, root: Path) -> Path:
        """The verified file below `root`: already there, or fetched.

        Raises:
            UserError: no network, a file that is not the known one, or no place to write.
        """
        fetch(self.url, root / self.place, self.digest, self.title, self.remedy(root))
        return root / self.place

    def check_reach(self, root: Path) -> None:
        """Whether the file can be had at all; writes nothing, and takes at most PATIENCE.

        Raises:
            UserError: it is not in `root`, and nobody answers at its address.
        """
        if not (root / self.place).is_file():
            check_reach(self.url, self.title, (root / self.place).parent, self.remedy(root))


def fetch(url: str, target: Path, digest: str, title: str, remedy: str) -> None:
    """See that the file that `digest` describes lies at `target`, however many processes ask.

    Args:
        url: where it can be had.
        target: where it is to lie; what lies there is verified, and the network is left alone.
        digest: "sha256:..." or "md5:...".
        title: the file's name for people.
        remedy: a sentence that says how to get on without the network.

    Raises:
        UserError: no network, a file that is not the known one, or no place to write.
    """
    if target.is_file():
        return _verify(target, digest)  # nothing is written or locked: a folder without write permission will do
    check_reach(url, title, target.parent, remedy)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / f".{target.name}.lock"):
            for stale in target.parent.glob(f".{target.name}.*.partial"):  # of a process that was killed
                shutil.rmtree(stale, ignore_errors=True)
            if target.is_file():
                return _verify(target, digest)
            with tempfile.TemporaryDirectory(".partial", f".{target.name}.", target.parent) as partial:
                download(url, Path(partial) / target.name, digest, title, target.parent, remedy)
                (Path(partial) / target.name).rename(target)
    except OSError as error:
        raise UserError(
            f"{title} cannot be written to {target.parent.resolve()}: {error.strerror or error}.\n{remedy}"
        ) from error


def download(url: str, target: Path, digest: str, title: str, folder: Path, remedy: str) -> None:
    """Write what `url` sends to `target`, with a progress bar, and verify it.

    Args:
        folder: where it is missed, for the message.

    Raises:
        UserError: it cannot be had, or it is not what `digest` describes.
        OSError: it cannot be written.
    """
    try:
        with urllib.request.build_opener().open(url, timeout=15) as response, target.open("wb") as file:
            size = int(response.headers.get("Content-Length", 0)) or None
            with tqdm(total=size, desc=f"Downloading {title}", unit="B", unit_scale=True) as bar:
                while block := response.read(1 << 18):
                    file.write(block)
                    bar.update(len(block))
            if size is not None and file.tell() < size:
                raise ConnectionError(f"it ended after {file.tell():,} of {size:,} bytes")
    except (urllib.error.URLError, HTTPException, ConnectionError, TimeoutError, socket.gaierror) as error:
        raise _unavailable(url, title, folder, remedy, error) from error
    algorithm, _, expected = digest.partition(":")
    actual = checksum(target, algorithm)
    if actual != expected:
        raise UserError(
            f"What {url} sent is not {title}: its {algorithm} is {actual}, expected {expected}. "
            f"Nothing was kept.\nRun again. {remedy}"
        )


def check_reach(url: str, title: str, folder: Path, remedy: str) -> None:
    """Whether somebody answers at `url`, within PATIENCE.

    Raises:
        UserError: nobody does.
    """
    try:
        _connect(url)
    except OSError as error:
        raise _unavailable(url, title, folder, remedy, error) from error


def checksum(path: Path, algorithm: str) -> str:
    """A file's digest in hexadecimal, by the name that hashlib has for it."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _verify(path: Path, digest: str) -> None:
    algorithm, _, expected = digest.partition(":")
    try:
        actual = checksum(path, algorithm)
    except OSError as error:
        raise UserError(f"{path.resolve()} cannot be read: {error.strerror or error}.") from error
    if actual != expected:
        raise UserError(
            f"{path.resolve()} is truncated or altered: its {algorithm} is {actual}, expected {expected}.\n"
            "Replace it, or move it away and the next run downloads it."
        )


def _unavailable(url: str, title: str, folder: Path, remedy: str, error: Exception) -> UserError:
    reason = error if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", error)
    return UserError(f"{title} is not in {folder.resolve()}, and {url} cannot be downloaded: {reason}.\n{remedy}")


def _connect(url: str) -> None:
    """Connect to the server, or to the proxy that stands before it, within PATIENCE.

    In a thread, because the system's name look-up knows no time limit.

    Raises:
        OSError: no such name, no answer, or refused.
    """
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.netloc):
        parts = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if not parts.hostname:
        return  # file://
    address = (parts.hostname, parts.port or {"https": 443}.get(parts.scheme, 80))
    outcome: list[OSError | None] = []

    def connect() -> None:
        try:
            socket.create_connection(address, PATIENCE).close()
            outcome.append(None)
        except OSError as error:
            outcome.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if not outcome:
        raise TimeoutError(f"no answer from {address[0]} within {PATIENCE} s")
    if outcome[0] is not None:
        raise outcome[0]
