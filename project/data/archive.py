"""Fetch an archive once, however many processes ask: verified before it is unpacked, moved into place when whole."""

import hashlib
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from project.data.download import check_reach, checksum, download
from project.errors import UserError


@dataclass(frozen=True)
class Archive:
    """A tar archive on the network, and what is needed of the one folder in it: files or folders (name -> md5).

    Of a folder the md5 is empty. `instead` is a member of conf/data that needs no file.
    """

    title: str
    url: str
    filename: str
    md5: str
    folder: str
    files: dict[str, str]
    instead: str = "shapes"

    def missing(self, root: Path) -> list[str]:
        return [name for name in self.files if not (root / self.folder / name).exists()]

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
        check_reach(self.url, self.title, root, self._remedy(root))

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
            actual = checksum(source, "md5")
            if actual != self.md5:
                raise UserError(
                    f"{source.resolve()} is truncated or altered: its md5 is {actual}, expected {self.md5}.\n"
                    "Replace it, or move it away and the next run downloads it."
                )
        else:
            source = partial / self.filename
            download(self.url, source, f"md5:{self.md5}", self.title, root, self._remedy(root))
        with tarfile.open(source) as tar:
            wanted = (member for member in tar if self._needs(member.name))
            # the archive's md5 is known; the filter is missing in the oldest releases of Python 3.10
            if hasattr(tarfile, "data_filter"):
                tar.extractall(partial, wanted, filter="data")
            else:
                tar.extractall(partial, wanted)
        unpacked, place = partial / self.folder, root / self.folder
        if not place.exists():
            unpacked.rename(place)
        for name in self.missing(root):  # the folder was there, with some of its files
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (unpacked / name).replace(place / name)

    def _needs(self, member: str) -> bool:
        return any(f"{member}/".startswith(f"{self.folder}/{name}/") for name in self.files)

    def _remedy(self, root: Path) -> str:
        return (
            f"Put the archive at {root.resolve() / self.filename}, say where it is with data.root=..., "
            f"or train on data={self.instead}, which needs no file."
        )
