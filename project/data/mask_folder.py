"""Anyone's own pictures with a class for every pixel: a folder of images and a folder of masks."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from project.data.decode import size_for
from project.data.lines import read_lines
from project.data.mask_pairs import DecodedPairs, Pairs, decoded_pairs, find_pairs
from project.data.module import require
from project.data.pictures import Split
from project.data.targeted import IGNORED, Moves, TargetedDataModule, moved_masks, random_split
from project.errors import UserError
from project.machine import usable_cores

log = logging.getLogger(__name__)


class MaskFolder(TargetedDataModule):
    """`root/train/images/x.jpg` with `root/train/masks/x.png`, and `test` and `val` alike; or `root/images` and
    `root/masks`, split by seed. A mask's pixels are classes' numbers from 0 on; 255 is ignored.

    Pairs are decoded once, into `cache_folder`, and then served from memory.

    Args:
        root: the folder of both.
        classes: a text file with the classes' names, a line each; None: `root/classes.txt`, and without it the classes
            are counted, and their names are numbers.
        values: the value of each class in the masks, where it is not its number, e.g. [0, 255] of black and white ones.
        image_size: side in pixels; None: the images' own size where they share one, or else a usual one, logged.
            Pictures are resized until they just cover it, and their centre is cut out.
        cache: GiB of decoded images and masks that may be held in memory.
        cache_folder: where they are kept between runs.
        num_workers: processes that decode; None: one per core.
        test_fraction: share of the images that is held out where `root` has no test set.
        common: what `TargetedDataModule` takes.

    Raises:
        ValueError: an argument out of its range.
        UserError: no such folder, no images, one without a mask, sizes that differ, a value that is no class.
    """

    def __init__(
        self,
        root: str,
        classes: str | None = None,
        values: Sequence[int] | None = None,
        image_size: int | None = None,
        cache: float = 4.0,
        cache_folder: str = "data/cache",
        num_workers: int | None = None,
        test_fraction: float = 0.1,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require(image_size is None or image_size >= 1, "data.image_size must be at least 1, or null", image_size)
        require(cache > 0, "data.cache must be above 0 GiB", cache)
        require(num_workers is None or num_workers >= 0, "data.num_workers must be at least 0, or null", num_workers)
        require(0 < test_fraction < 1, "data.test_fraction must lie between 0 and 1, both excluded", test_fraction)
        wanted = None if values is None else list(values)
        fits = wanted is None or (len(set(wanted)) == len(wanted) and all(0 <= value <= 255 for value in wanted))
        require(fits, "data.values must be different numbers from 0 to 255", wanted)
        self.root, self.names_file, self.values = Path(root), classes, wanted
        self.image_size, self.cache, self.cache_folder = image_size, cache, Path(cache_folder)
        self.test_fraction = test_fraction
        self.workers = usable_cores() if num_workers is None else num_workers
        self.classes: list[str] = []

    def prepare_data(self) -> None:
        self.setup()

    def read(self) -> dict[str, Split]:
        pairs = find_pairs(self.root)
        decoded = decoded_pairs(pairs, self.cache_folder, *self._size(pairs), self.workers)
        self.classes = self._names(decoded)
        table = self._table()
        self._check(pairs, decoded, table)
        whole = Split(decoded.images, np.arange(len(decoded.images)), table.astype(np.uint8)[decoded.masks])
        splits = {name: whole.part(numbers) for name, numbers in pairs.parts.items()}
        train = splits.pop("all", None) or splits["train"]
        if "test" not in splits:
            kept, held = random_split(len(train.rows), self.test_fraction, self.split_seed)
            train, splits["test"] = train.part(kept), train.part(held)
        return {**splits, "train": train}

    def move(self, targets: Tensor, moves: Moves) -> Tensor:
        return moved_masks(targets, moves)

    @property
    def named(self) -> dict[str, list[str]]:
        return {"classes": list(self.classes)}

    @property
    def sizes(self) -> dict[str, Any]:
        return {"pixel_classes": len(self.classes), "image_shape": list(self.image_shape)}

    def _size(self, pairs: Pairs) -> tuple[int, int]:
        if self.image_size is not None:
            height = width = self.image_size
        else:
            height, width, shared = size_for(len(pairs.images), pairs.image)
            if not shared and (self.trainer is None or self.trainer.is_global_zero):
                log.warning("%s: images of several sizes, made %dx%d; data.image_size=N", self.root, height, width)
        size = len(pairs.images) * height * width * 4 / 2**30
        if size > self.cache:
            raise UserError(
                f"{self.root}: {size:.1f} GiB decoded, more than data.cache={self.cache}.\n"
                "Choose a smaller data.image_size, or a larger data.cache if the memory is there."
            )
        return height, width

    def _names(self, decoded: DecodedPairs) -> list[str]:
        """By number: the file's, or the numbers themselves, as many as the masks have."""
        file = Path(self.names_file).expanduser() if self.names_file else self.root / "classes.txt"
        if self.names_file or file.is_file():
            if not file.is_file():
                raise UserError(f"There is no file {file.resolve()} with the classes' names (data.classes).")
            names = [line.strip() for line in read_lines(file) if line.strip()]
        elif self.values is not None:
            names = [str(value) for value in self.values]
        else:
            there = np.flatnonzero(decoded.values.any(0))
            if set(there.tolist()) <= {0, IGNORED} and IGNORED in there:
                raise UserError(
                    f"The masks of {self.root} are 0 and 255 alone, and 255 means that a pixel is to be ignored.\n"
                    "If it is a class, say so: data.values=[0,255]."
                )
            names = [str(number) for number in range(there[there < IGNORED].max(initial=-1) + 1)]
        if len(names) < 2:
            raise UserError(f"{self.root} has {len(names)} class{'' if len(names) == 1 else 'es'}: it takes two.")
        if len(set(names)) < len(names) or len(names) > IGNORED:
            raise UserError(f"{file} must name at most {IGNORED} classes, each once, a line each.")
        if self.values is not None and len(self.values) != len(names):
            raise UserError(f"data.values has {len(self.values)} values, and {file} names {len(names)} classes.")
        return names

    def _table(self) -> np.ndarray:
        """(256,) the class of each value: -1 where it has none."""
        table = np.full(256, -1)
        table[IGNORED] = IGNORED
        table[list(range(len(self.classes))) if self.values is None else self.values] = np.arange(len(self.classes))
        return table

    def _check(self, pairs: Pairs, decoded: DecodedPairs, table: np.ndarray) -> None:
        wrong = decoded.values & (table < 0)
        for number in np.flatnonzero(wrong.any(1)).tolist():
            value = int(np.flatnonzero(wrong[number])[0])
            known = f"from 0 to {len(self.classes) - 1}" if self.values is None else f"of data.values={self.values}"
            raise UserError(
                f"The mask {pairs.mask(number)} has the value {value}, and classes are {known} (255: ignored).\n"
                "Correct it, or name all classes in classes.txt, a line each."
            )
