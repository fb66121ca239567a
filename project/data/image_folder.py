"""Anyone's own pictures: one folder per class."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from project.data.cache import Decoded, ImageCache, with_remedy
from project.data.decode import size_for
from project.data.files import Files, find_files
from project.data.images import ImageDataModule, stratified_split
from project.data.loader import EpochLoader
from project.data.module import placement, require
from project.data.pictures import Split
from project.data.stream import StreamLoader
from project.errors import UserError
from project.machine import usable_cores

log = logging.getLogger(__name__)

IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # the usual constants, as in torchvision


class ImageFolder(ImageDataModule):
    """`root/train/<class>/*` and `root/test/<class>/*`, with or without `val`; or `root/<class>/*`, split by seed.

    Images that fit into `cache` GiB once decoded are decoded once, into `cache_folder`, and then served from memory
    like any small data set (`shift`, `flip` and `cutout` apply). Larger data are decoded by `num_workers` processes
    as the training goes, with random-resized crops instead of `shift` and `cutout`.

    Args:
        root: the folder of the images.
        image_size: side in pixels; None: the images' own size where they share one, or else a usual one, logged.
        cache: GiB of decoded images that may be held in memory.
        cache_folder: where decoded images are kept between runs.
        on_error: end the run at an image that cannot be read, or leave it out.
        num_workers: processes that decode; None: one per core.
        test_fraction: share of each class that is held out where `root` has no test set.
        common: what `ImageDataModule` takes.

    Raises:
        ValueError: an argument out of its range.
        UserError: no such folder, no images, a class that is missing in a split, an image that cannot be read.
    """

    def __init__(
        self,
        root: str,
        image_size: int | None = None,
        cache: float = 4.0,
        cache_folder: str = "data/cache",
        on_error: Literal["raise", "skip"] = "raise",
        num_workers: int | None = None,
        test_fraction: float = 0.1,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require(image_size is None or image_size >= 1, "data.image_size must be at least 1, or null", image_size)
        require(cache >= 0, "data.cache must be at least 0 GiB", cache)
        require(on_error in ("raise", "skip"), "data.on_error must be raise or skip", on_error)
        require(num_workers is None or num_workers >= 0, "data.num_workers must be at least 0, or null", num_workers)
        require(0 < test_fraction < 1, "data.test_fraction must lie between 0 and 1, both excluded", test_fraction)
        self.root, self.image_size, self.test_fraction = Path(root), image_size, test_fraction
        self.cache, self.cache_folder, self.on_error = cache, Path(cache_folder), on_error
        self.num_workers = num_workers
        self.streamed = False

    @property
    def workers(self) -> int:
        """Processes that decode for this one: the cores are shared among the trainer's processes here."""
        if self.num_workers is not None:
            return self.num_workers
        return max(1, usable_cores() // (self.trainer.num_devices if self.trainer else 1))

    def prepare_data(self) -> None:
        self.setup()

    def read(self) -> dict[str, Split]:
        files = find_files(self.root)
        self.classes = files.classes
        decoded = self._decoded(files)
        self.streamed = decoded is None
        if decoded is None:
            # the files' names stand in for the images
            whole = Split(np.array([stamp[0] for stamp in files.stamps]), np.arange(len(files.labels)), files.labels)
            parts = files.parts
        else:
            whole = Split.whole(decoded.images, files.labels)
            parts = {name: self._readable(numbers, decoded.broken) for name, numbers in files.parts.items()}
        return self._parted({name: whole.part(numbers) for name, numbers in parts.items()})

    def _decoded(self, files: Files) -> Decoded | None:
        """All images in memory, from the cache or decoded now; None where they are too large together."""
        entry = ImageCache(self.cache_folder, files, self.image_size)
        decoded = entry.load()
        height, width = decoded.images.shape[1:3] if decoded else self._size(files)
        self.image_shape = [3, height, width]
        size = len(files.stamps) * height * width * 3 / 2**30
        if size > self.cache:
            self._say(f"{self.root}: {size:.1f} GiB decoded, more than data.cache={self.cache}: decoded as needed")
            self._say("for images decoded as needed, random-resized crops take the place of data.shift and data.cutout")
            return None
        decoded = decoded or entry.build(height, width, self.workers, stop_at_broken=self.on_error == "raise")
        if decoded.broken and self.on_error == "raise":
            raise UserError(with_remedy(next(iter(decoded.broken.values()))))
        if decoded.broken:
            first = next(iter(decoded.broken.values()))
            self._say(f"{len(decoded.broken)} of {len(files.stamps)} images are left out; the first: {first}")
        return decoded

    def _size(self, files: Files) -> tuple[int, int]:
        """Height and width for all images."""
        if self.image_size is not None:
            return self.image_size, self.image_size
        height, width, shared = size_for(len(files.stamps), files.path)
        if not shared:
            self._say(f"{self.root}: images of several sizes, made {height}x{width}; data.image_size=N makes them NxN")
        return height, width

    def _say(self, text: str) -> None:
        if self.trainer is None or self.trainer.is_global_zero:
            log.warning(text)

    def _readable(self, numbers: np.ndarray, broken: dict[int, str]) -> np.ndarray:
        return numbers[~np.isin(numbers, list(broken))]

    def _parted(self, splits: dict[str, Split]) -> dict[str, Split]:
        """With a test set, taken from the training images or from all of them where there is none."""
        train = splits.pop("all", None) or splits["train"]
        if "test" not in splits:
            kept, held = stratified_split(train.labels, self.test_fraction, self.split_seed)
            train, splits["test"] = train.part(kept), train.part(held)
        return {**splits, "train": train}

    def measure(self, train: Split) -> None:
        if self.streamed:
            self.mean, self.std = IMAGENET_MEAN, IMAGENET_STD
        else:
            super().measure(train)

    def loader(self, split: Split, train: bool = False) -> EpochLoader:
        if not self.streamed:
            return super().loader(split, train)
        return StreamLoader(
            _Paths(self.root, split.images[split.rows]),
            torch.from_numpy(split.labels),
            self.batch_size if train else self.eval_batch_size,
            image_shape=self.image_shape,
            mean=self.mean,
            std=self.std,
            train=train,
            shuffle=self.shuffle,
            seed=self.seed,
            workers=self.workers,
            on_error=self.on_error,
            warn=self._say,
            flip=self.flip,
            color=self.color,
            **placement(self),
        )


class _Paths(Sequence[Path]):
    """Paths of a million files as one array of text, which worker processes share without copying."""

    def __init__(self, root: Path, names: np.ndarray) -> None:
        self.root, self.names = root, names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> Path:  # type: ignore[override]
        return self.root / str(self.names[number])
