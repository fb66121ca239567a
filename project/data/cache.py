"""Decode a folder's images once into a file of raw bytes that later runs map."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped]

from project.data.decode import fitted, open_rgb
from project.data.entries import make_entry
from project.data.files import Files
from project.data.workers import in_parallel
from project.errors import UserError

CHUNK = 64  # images per task of a worker


@dataclass(frozen=True)
class Decoded:
    """Every file's image at its number in the list; `broken` has the numbers of those that are none, with reasons."""

    images: np.ndarray  # (N, H, W, 3) uint8, mapped
    broken: dict[int, str]


class _Chunks:
    """Item k: the images of files 64k up to 64(k + 1), zeros for a broken one, and the broken ones' reasons."""

    def __init__(self, files: Files, height: int, width: int) -> None:
        self.files, self.height, self.width = files, height, width

    def __len__(self) -> int:
        return -(-len(self.files.stamps) // CHUNK)

    def __getitem__(self, chunk: int) -> tuple[np.ndarray, dict[int, str]]:
        numbers = range(chunk * CHUNK, min((chunk + 1) * CHUNK, len(self.files.stamps)))
        images, broken = np.zeros((len(numbers), self.height, self.width, 3), dtype=np.uint8), {}
        for place, number in enumerate(numbers):
            try:
                images[place] = fitted(open_rgb(self.files.path(number)), self.height, self.width)
            except UserError as error:
                broken[number] = str(error)
        return images, broken


class ImageCache:
    """The cache's entry for one list of files (names, sizes and times) at one image size.

    An entry appears whole or not at all: it is written beside its place, under a lock, and then renamed.
    """

    def __init__(self, folder: Path, files: Files, image_size: int | None) -> None:
        self.folder, self.files = folder, files
        described = json.dumps([1, str(files.root.resolve()), image_size, files.stamps])
        self.place = folder / f"{files.root.resolve().name}-{hashlib.sha256(described.encode()).hexdigest()[:16]}"

    def load(self) -> Decoded | None:
        """The entry, mapped and not read; None where there is none."""
        if not self.place.is_dir():
            return None
        try:
            images = np.load(self.place / "images.npy", mmap_mode="r")
            broken = json.loads((self.place / "broken.json").read_text())
        except (OSError, ValueError, EOFError) as error:
            raise UserError(
                f"The cache {self.place.resolve()} cannot be read: {error}.\nRemove it; the next run makes it anew."
            ) from error
        return Decoded(images, {int(number): reason for number, reason in broken.items()})

    def build(self, height: int, width: int, workers: int, stop_at_broken: bool) -> Decoded:
        """Decode all files, unless another process does so meanwhile.

        Raises:
            UserError: a broken image where `stop_at_broken`, or no place to write.
        """
        try:
            make_entry(self.place, lambda entry: self._write(entry, height, width, workers, stop_at_broken))
        except OSError as error:
            raise UserError(
                f"The decoded images cannot be written to {self.folder.resolve()}: {error.strerror or error}.\n"
                "Choose another place with data.cache_folder=PATH, or decode as you go with data.cache=0."
            ) from error
        decoded = self.load()
        assert decoded is not None
        return decoded

    def _write(self, entry: Path, height: int, width: int, workers: int, stop_at_broken: bool) -> None:
        shape, broken = (len(self.files.stamps), height, width, 3), {}
        # Written in order, not mapped: a full disk is an error then, and not the end of the process.
        with (entry / "images.npy").open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for images, reasons in self._decoded(height, width, workers):
                if reasons and stop_at_broken:
                    raise UserError(with_remedy(next(iter(reasons.values()))))
                file.write(images.tobytes())
                broken.update(reasons)
        (entry / "broken.json").write_text(json.dumps(broken))

    def _decoded(self, height: int, width: int, workers: int) -> Iterator[tuple[np.ndarray, dict[int, str]]]:
        chunks = _Chunks(self.files, height, width)
        with tqdm(total=len(self.files.stamps), desc=f"Decoding {self.files.root}", unit="image") as bar:
            for images, reasons in in_parallel(chunks, range(len(chunks)), workers):
                yield images, reasons
                bar.update(len(images))


def with_remedy(reason: str) -> str:
    return f"{reason}\nRepair or remove it, or leave such images out with data.on_error=skip."
