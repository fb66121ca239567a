"""Fetch an archive once, however many processes ask: verified before it is unpacked, moved into place when whole."""

import hashlib
import shutil
import socket
import tarfile
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
class Archive:
    """A tar archive on the network, and the files (name -> md5) of the one folder in it."""

    title: str
    url: str
    filename: str
    md5: str
    folder: str
    files: dict[str, str]

    def missing(self, root: Path) -> list[str]:
        return [name for name in self.files if not (root / self.folder / name).is_file()]

    def provide(self, root: Path) -> None:
        """See that all files lie in `root / folder`: already there, from an archive in `root`, or from the network.

        Raises:
            UserError: no network, an archive that is not the known one, or no place to write.
        """
        if not self.missing(root):
            return  # nothing is written or locked, so that a folder without write permission will do
        self.check_reach(root)
        try:
            root.mkdir(parents=True, exist_ok=True)
            with FileLock(root / f".{self.filename}.lock"):
                for stale in root.glob(f".{self.filename}.*.partial"):  # of a process that was killed
                    shutil.rmtree(stale, ignore_errors=True)
                if self.missing(root):
                    with tempfile.TemporaryDirectory(".partial", f".{self.filename}.", root) as partial:
                        self._unpack(root, Path(partial))
        except OSError as error:
            raise UserError(
                f"{self.title} cannot be written to {root.resolve()}: {error.strerror or error}.\n"
                f"Choose another folder with data.root=..., or put the unpacked {self.folder} there."
            ) from error

    def check_reach(self, root: Path) -> None:
        """Whether the files can be had at all; writes nothing, and takes at most PATIENCE.

        Raises:
            UserError: they are not in `root`, neither is the archive, and nobody answers at its address.
        """
        if not self.missing(root) or (root / self.filename).is_file():
            return
        try:
            _reach(self.url)
        except OSError as error:
            raise self._unavailable(root, error) from error

    def verified(self, root: Path, name: str) -> bytes:
        """A file's content, refused unless it is the known one.

        Raises:
            UserError: another md5 than the known one, or a file that cannot be read.
        """
        path = root / self.folder / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path.resolve()} cannot be read: {error.strerror or error}.") from error
        actual = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if actual != self.files[name]:
            raise UserError(
                f"{path.resolve()} is damaged or altered: its md5 is {actual}, expected {self.files[name]}.\n"
                f"Move {path.parent.resolve()} away; the next run provides it anew."
            )
        return content

    def _unpack(self, root: Path, partial: Path) -> None:
        source = root / self.filename
        if source.is_file():
            actual = _md5(source)
            if actual != self.md5:
                raise UserError(
                    f"{source.resolve()} is truncated or altered: its md5 is {actual}, expected {self.md5}.\n"
                    "Replace it, or move it away and the next run downloads it."
                )
        else:
            source = partial / self.filename
            self._download(root, source)
        with tarfile.open(source) as tar:
            # the archive's md5 is known; the filter is missing in the oldest releases of Python 3.10
            if hasattr(tarfile, "data_filter"):
                tar.extractall(partial, filter="data")
            else:
                tar.extractall(partial)
        unpacked, place = partial / self.folder, root / self.folder
        if not place.exists():
            unpacked.rename(place)
        for name in self.missing(root):  # the folder was there, with some of its files
            (unpacked / name).replace(place / name)

    def _download(self, root: Path, target: Path) -> None:
        try:
            with urllib.request.build_opener().open(self.url, timeout=15) as response, target.open("wb") as file:
                size = int(response.headers.get("Content-Length", 0)) or None
                with tqdm(total=size, desc=f"Downloading {self.title}", unit="B", unit_scale=True) as bar:
                    while block := response.read(1 << 18):
                        file.write(block)
                        bar.update(len(block))
        except (urllib.error.URLError, HTTPException, ConnectionError, TimeoutError, socket.gaierror) as error:
            raise self._unavailable(root, error) from error
        actual = _md5(target)
        if actual != self.md5:
            raise UserError(
                f"What {self.url} sent is not {self.title}: its md5 is {actual}, expected {self.md5}. "
                f"Nothing was kept.\nRun again. {self._remedy(root)}"
            )

    def _unavailable(self, root: Path, error: Exception) -> UserError:
        reason = error if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", error)
        return UserError(
            f"{self.title} is not in {root.resolve()}, and {self.url} cannot be downloaded: {reason}.\n"
            f"{self._remedy(root)}"
        )

    def _remedy(self, root: Path) -> str:
        return (
            f"Put the archive at {root.resolve() / self.filename}, say where it is with data.root=..., "
            "or train on data=shapes, which needs no file."
        )


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _reach(url: str) -> None:
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
