"""Image files by split and class, as folders name them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from project.errors import UserError

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")
SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}  # and the folders' names
Stamp = tuple[str, int, int]  # path below the root, bytes, time of the last change in ns


@dataclass(frozen=True)
class Files:
    """All images below `root`; `parts` maps each split (or "all") to the numbers of its files."""

    root: Path
    classes: list[str]
    stamps: list[Stamp]
    labels: np.ndarray  # (N,) int64
    parts: dict[str, np.ndarray]

    def path(self, number: int) -> Path:
        return self.root / self.stamps[number][0]


def find_files(root: Path) -> Files:
    """`root/{train,val,test}/<class>/...` where there is a folder `train`, otherwise `root/<class>/...` ("all").

    Raises:
        UserError: no such folder, no image, or a class that a split lacks.
    """
    if not root.is_dir():
        raise UserError(f"There is no folder {root.resolve()}.\nSay where the images are: data.root=PATH.")
    folders = {"all": "."}
    if (root / "train").is_dir():
        folders = {split: name for split, names in SPLITS.items() for name in names if (root / name).is_dir()}
    found = {split: _by_class(root, name) for split, name in folders.items()}
    first, *_ = folders
    classes = list(found[first])
    for split, name in folders.items():
        _check_classes(root / name, found[split], root / folders[first], classes)
    stamps: list[Stamp] = []
    labels: list[int] = []
    parts = {}
    for split, by_class in found.items():
        start = len(stamps)
        for label, members in enumerate(classes):
            stamps += by_class[members]
            labels += [label] * len(by_class[members])
        parts[split] = np.arange(start, len(stamps))
    return Files(root, classes, stamps, np.array(labels, dtype=np.int64), parts)


def _by_class(root: Path, split: str) -> dict[str, list[Stamp]]:
    folders = sorted(entry.name for entry in os.scandir(root / split) if entry.is_dir() and entry.name[0] != ".")
    return {name: sorted(images_below(root, name if split == "." else f"{split}/{name}")) for name in folders}


def images_below(root: Path, below: str) -> Iterator[Stamp]:
    """All images in `root/below` at any depth, in no order.

    Raises:
        UserError: a folder or a file that cannot be read.
    """
    try:
        with os.scandir(root / below) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue  # such as the "._cat.jpg" of a Mac
                if entry.is_dir():
                    yield from images_below(root, f"{below}/{entry.name}")
                elif entry.name.lower().endswith(ENDINGS):
                    status = entry.stat()
                    yield f"{below}/{entry.name}", status.st_size, status.st_mtime_ns
    except OSError as error:  # such as a link to nowhere, or around in a circle
        place = str(error.filename or root / below)
        place = place if len(place) < 200 else f"{place[:100]}..."
        raise UserError(f"{place} cannot be read: {error.strerror}. Remove it, or mend the link.") from error


def _check_classes(folder: Path, found: dict[str, list[Stamp]], reference: Path, classes: list[str]) -> None:
    if not any(found.values()):
        raise UserError(
            f"There are no images in {folder.resolve()}: one folder per class is expected in it, "
            f"with files that end in {', '.join(ENDINGS)}."
        )
    for name in [*classes, *found]:
        if not found.get(name):
            raise UserError(
                f"Class {name!r} has no images in {folder.resolve()}.\nAdd some, or remove the class from all splits."
            )
        if name not in classes:
            raise UserError(
                f"Class {name!r} of {folder.resolve()} is not in {reference.resolve()}.\n"
                "Every split must have the same class folders."
            )
