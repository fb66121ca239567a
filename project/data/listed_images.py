"""Image files that an annotation file names, decoded once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from project.data.cache import Decoded, ImageCache, with_remedy
from project.data.files import Files, Stamp
from project.data.module import require
from project.errors import UserError
from project.machine import usable_cores


class ListedImages:
    """Files below a folder that the user has filled, made `image_size` wide and high, held in memory.

    Args:
        image_size: side in pixels.
        cache: GiB of decoded images that may be held in memory.
        cache_folder: where decoded images are kept between runs.
        on_error: end the run at an image that cannot be read, or leave it out.
        num_workers: processes that decode; None: one per core.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        image_size: int,
        cache: float = 4.0,
        cache_folder: str = "data/cache",
        on_error: Literal["raise", "skip"] = "raise",
        num_workers: int | None = None,
    ) -> None:
        require(image_size >= 1, "data.image_size must be at least 1", image_size)
        require(cache > 0, "data.cache must be above 0 GiB", cache)
        require(on_error in ("raise", "skip"), "data.on_error must be raise or skip", on_error)
        require(num_workers is None or num_workers >= 0, "data.num_workers must be at least 0, or null", num_workers)
        self.image_size, self.cache = image_size, cache
        self.cache_folder, self.on_error, self.num_workers = Path(cache_folder), on_error, num_workers

    def read(self, root: Path, names: Sequence[str], annotations: Path) -> tuple[np.ndarray, np.ndarray]:
        """The images (N, H, W, 3) uint8 of the files `names` below `root`, mapped, and which can be read, (N,).

        Args:
            root: the folder.
            names: from the annotation file `annotations`, which messages name.

        Raises:
            UserError: a name that leads out of the folder, files that are missing or broken, or too much for memory.
        """
        size = len(names) * self.image_size**2 * 3 / 2**30
        if size > self.cache:
            raise UserError(
                f"{len(names):,} images of {self.image_size}x{self.image_size} take {size:.1f} GiB, more than "
                f"data.cache={self.cache}.\nChoose a smaller data.image_size, or allow more with data.cache."
            )
        files = Files(root, [], self._stamps(root, names, annotations), np.zeros(len(names), np.int64), {})
        entry = ImageCache(self.cache_folder, files, self.image_size)
        workers = usable_cores() if self.num_workers is None else self.num_workers
        decoded = entry.load() or entry.build(self.image_size, self.image_size, workers, self.on_error == "raise")
        self._check(decoded)
        readable = np.ones(len(names), bool)
        readable[list(decoded.broken)] = False
        return decoded.images, readable

    def _stamps(self, root: Path, names: Sequence[str], annotations: Path) -> list[Stamp]:
        root = root.resolve()
        stamps: list[Stamp] = []
        for name in names:
            path = (root / name).resolve()
            if not path.is_relative_to(root):
                raise UserError(f"{annotations} names an image outside of its folder: {name!r}")
            try:
                status = path.stat()
            except OSError as error:
                if self.on_error == "raise":
                    raise UserError(
                        f"{annotations} names {name!r}, and {path} is not there: {error.strerror}.\n"
                        "Add it, or leave such images out with data.on_error=skip."
                    ) from error
                stamps.append((name, 0, 0))
            else:
                stamps.append((name, status.st_size, status.st_mtime_ns))
        return stamps

    def _check(self, decoded: Decoded) -> None:
        if decoded.broken and self.on_error == "raise":
            raise UserError(with_remedy(next(iter(decoded.broken.values()))))
