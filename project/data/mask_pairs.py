"""Pictures and the masks that belong to them: found by their names, decoded once, kept as raw bytes."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm  # type: ignore[import-untyped]

from project.data.decode import fitted, fitted_mask, open_rgb
from project.data.entries import make_entry
from project.data.files import SPLITS, Stamp, images_below
from project.data.workers import in_parallel
from project.errors import UserError

CHUNK = 32  # pairs per task of a worker
FORM = (
    "Pictures are expected in train/images and their masks in train/masks, each mask a PNG of its picture's name "
    "(x.jpg and x.png); test/ and val/ may be there, too. Or there are just images/ and masks/"
)


@dataclass(frozen=True)
class Pairs:
    """All pictures below `root` and their masks; `parts` maps each split (or "all") to the numbers of its pairs."""

    root: Path
    images: list[Stamp]
    masks: list[Stamp]
    parts: dict[str, np.ndarray]

    def image(self, number: int) -> Path:
        return self.root / self.images[number][0]

    def mask(self, number: int) -> Path:
        return self.root / self.masks[number][0]


@dataclass(frozen=True)
class DecodedPairs:
    """Images (N, H, W, 3) and masks (N, H, W), uint8 and mapped; `values` (N, 256): which a whole mask has."""

    images: np.ndarray
    masks: np.ndarray
    values: np.ndarray


def find_pairs(root: Path) -> Pairs:
    """`root/{train,val,test}/{images,masks}` where there is a folder `train`, otherwise `root/{images,masks}` ("all").

    Raises:
        UserError: no such folders, no picture, a picture without a mask, a mask without a picture.
    """
    if not root.is_dir():
        raise UserError(f"There is no folder {root.resolve()}.\nSay where the images are: data.root=PATH.")
    folders = {"all": "."}
    if (root / "train").is_dir():
        folders = {split: name for split, names in SPLITS.items() for name in names if (root / name).is_dir()}
    images: list[Stamp] = []
    masks: list[Stamp] = []
    parts = {}
    for split, name in folders.items():
        own_images, own_masks = _paired(root, "" if name == "." else f"{name}/")
        parts[split] = np.arange(len(images), len(images) + len(own_images))
        images, masks = images + own_images, masks + own_masks
    return Pairs(root, images, masks, parts)


def _paired(root: Path, split: str) -> tuple[list[Stamp], list[Stamp]]:
    found = []
    for kind in ("images", "masks"):
        if not (root / split / kind).is_dir():
            raise UserError(f"There is no folder {(root / split / kind).resolve()}.\n{FORM}.")
        found.append(_by_name(root, f"{split}{kind}"))
    images, masks = found
    if not images:
        raise UserError(f"There are no images in {(root / split / 'images').resolve()}.\n{FORM}.")
    for name in images.keys() ^ masks.keys():
        have, lack = ("image", "mask") if name in images else ("mask", "image")
        path = root / (images | masks)[name][0]
        raise UserError(f"The {have} {path} has no {lack}: none is called {name!r} in {root / split}/{lack}s.\n{FORM}.")
    names = sorted(images)
    return [images[name] for name in names], [masks[name] for name in names]


def _by_name(root: Path, below: str) -> dict[str, Stamp]:
    """Images by their path without its ending."""
    found: dict[str, Stamp] = {}
    for stamp in images_below(root, below):
        name = os.path.splitext(stamp[0][len(below) + 1 :])[0]  # noqa: PTH122 - of a text that is no path of its own
        if name in found:
            raise UserError(f"{root / found[name][0]} and {root / stamp[0]} have one name.\nRemove one of them.")
        found[name] = stamp
    return found


def open_mask(path: Path) -> np.ndarray:
    """The numbers that a mask has at each pixel, (H, W) uint8: a palette's indices, or grey values.

    Raises:
        UserError: no picture of classes: colours, a lossy form, or numbers above 255.
    """
    try:
        with Image.open(path) as image:
            mode, form, mask = image.mode, image.format, np.asarray(image)
    except Exception as error:  # a broken file makes the decoders raise nearly anything
        raise UserError(f"{path} cannot be read as a mask: {error or type(error).__name__}.") from error
    if form == "JPEG":
        raise UserError(f"The mask {path} is a JPEG, which does not keep numbers as they are.\nMake it a PNG.")
    if mask.ndim != 2 or mode not in ("P", "L", "1", "I", "I;16"):
        raise UserError(
            f"The mask {path} has colours (mode {mode}), and a class is a number.\n"
            "Make it a PNG with a palette, or a grey one, whose values are the classes' numbers."
        )
    if mask.max(initial=0) > 255:
        raise UserError(f"The mask {path} has the value {mask.max()}, and classes go up to 254 (255: ignored).")
    return mask.astype(np.uint8)


class _Chunks:
    """Item k: images, masks and values of pairs 32k up to 32(k + 1), and why one of them is broken."""

    def __init__(self, pairs: Pairs, height: int, width: int) -> None:
        self.pairs, self.height, self.width = pairs, height, width

    def __len__(self) -> int:
        return -(-len(self.pairs.images) // CHUNK)

    def __getitem__(self, chunk: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, str | None]:
        numbers = range(chunk * CHUNK, min((chunk + 1) * CHUNK, len(self.pairs.images)))
        images = np.zeros((len(numbers), self.height, self.width, 3), dtype=np.uint8)
        masks, values = np.zeros(images.shape[:3], np.uint8), np.zeros((len(numbers), 256), bool)
        try:
            for place, number in enumerate(numbers):
                images[place], masks[place], values[place] = self._pair(number)
        except UserError as error:
            return images, masks, values, str(error)
        return images, masks, values, None

    def _pair(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        image, mask = open_rgb(self.pairs.image(number)), open_mask(self.pairs.mask(number))
        if (image.height, image.width) != mask.shape:
            raise UserError(
                f"{self.pairs.image(number)} has {image.width}x{image.height} pixels, and its mask "
                f"{self.pairs.mask(number)} {mask.shape[1]}x{mask.shape[0]}.\nBoth must have the same size."
            )
        values = np.bincount(mask.ravel(), minlength=256) > 0
        return fitted(image, self.height, self.width), fitted_mask(mask, self.height, self.width), values


def decoded_pairs(pairs: Pairs, folder: Path, height: int, width: int, workers: int) -> DecodedPairs:
    """All pairs at one size, from their entry in the cache `folder` or decoded into it now; mapped and not read.

    Raises:
        UserError: a picture or a mask that cannot be used, or no place to write.
    """
    described = json.dumps(["pairs", 1, str(pairs.root.resolve()), height, width, pairs.images, pairs.masks])
    place = folder / f"{pairs.root.resolve().name}-{hashlib.sha256(described.encode()).hexdigest()[:16]}"
    try:
        make_entry(place, lambda entry: _write(entry, _Chunks(pairs, height, width), workers))
        parts = [np.load(place / f"{name}.npy", mmap_mode="r") for name in ("images", "masks", "values")]
    except OSError as error:
        raise UserError(
            f"The decoded images cannot be kept in {folder.resolve()}: {error.strerror or error}.\n"
            "Choose another place with data.cache_folder=PATH."
        ) from error
    except (ValueError, EOFError) as error:
        raise UserError(f"The cache {place.resolve()} cannot be read: {error}.\nRemove it.") from error
    return DecodedPairs(*parts)


def _write(entry: Path, chunks: _Chunks, workers: int) -> None:
    n, height, width = len(chunks.pairs.images), chunks.height, chunks.width
    shapes = {"images": (n, height, width, 3), "masks": (n, height, width), "values": (n, 256)}
    # written in order, not mapped: a full disk is an error then, and not the end of the process
    with (
        (entry / "images.npy").open("wb") as images,
        (entry / "masks.npy").open("wb") as masks,
        (entry / "values.npy").open("wb") as values,
    ):
        files = (images, masks, values)
        for file, (name, shape) in zip(files, shapes.items(), strict=True):
            kind = "|b1" if name == "values" else "|u1"
            np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
        for arrays in _decoded(chunks, workers):
            for file, array in zip(files, arrays, strict=True):
                file.write(array.tobytes())


def _decoded(chunks: _Chunks, workers: int) -> Iterator[tuple[np.ndarray, ...]]:
    with tqdm(total=len(chunks.pairs.images), desc=f"Decoding {chunks.pairs.root}", unit="image") as bar:
        for *arrays, reason in in_parallel(chunks, range(len(chunks)), workers):
            if reason is not None:
                raise UserError(reason)
            yield tuple(arrays)
            bar.update(len(arrays[0]))
