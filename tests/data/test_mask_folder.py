"""Folders of images and masks: what is found, what it is made of, what is told when something is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from project.data.mask_folder import MaskFolder
from project.errors import UserError
from tests.data.conftest import make_pairs


@pytest.fixture
def folder(pairs: Path, tmp_path: Path) -> Callable[..., MaskFolder]:
    """`folder(classes=...)`: the data in `pairs`, set up."""

    def build(**arguments: Any) -> MaskFolder:
        options = {"cache_folder": str(tmp_path / "cache"), "num_workers": 0, "batch_size": 4, **arguments}
        module = MaskFolder(str(arguments.pop("root", pairs)), **{k: v for k, v in options.items() if k != "root"})
        module.prepare_data()
        return module

    return build


def test_images_and_masks_are_those_of_the_files(folder: Callable[..., MaskFolder], pairs: Path) -> None:
    data = folder()
    assert data.counts == {"train": 27, "val": 3, "test": 10}
    assert data.classes == ["0", "1", "2"]
    assert data.sizes == {"pixel_classes": 3, "image_shape": [3, 20, 20]}
    test = data.splits["test"]
    for place in (0, 9):
        assert np.array_equal(test.labels[place], np.asarray(Image.open(pairs / "test" / "masks" / f"{place:03}.png")))
    assert np.array_equal(test.images[test.rows[0]], np.asarray(Image.open(pairs / "test" / "images" / "000.png")))


def test_without_a_test_set_one_is_held_out(folder: Callable[..., MaskFolder], tmp_path: Path) -> None:
    make_pairs(tmp_path / "flat", 20)
    data = folder(root=tmp_path / "flat", test_fraction=0.25, val_fraction=0.2)
    assert data.counts == {"train": 12, "val": 3, "test": 5}


def test_the_decoded_pairs_are_kept(folder: Callable[..., MaskFolder], pairs: Path, tmp_path: Path) -> None:
    folder()
    (entry,) = (path for path in (tmp_path / "cache").iterdir() if path.is_dir())
    marked = np.load(entry / "masks.npy")
    marked[:] = 1
    np.save(entry / "masks.npy", marked)
    assert (folder().splits["test"].labels == 1).all()  # read from there
    Image.new("L", (20, 20), 2).save(pairs / "test" / "masks" / "000.png")
    assert (folder().splits["test"].labels[0] == 2).all()  # another file, another entry


def test_names_and_values_of_classes(folder: Callable[..., MaskFolder], pairs: Path) -> None:
    (pairs / "classes.txt").write_text("ground\nroad\nhouse\n\n")
    assert folder().named == {"classes": ["ground", "road", "house"]}
    (pairs / "other.txt").write_text("a\nb\nc\nd\n")
    assert folder(classes=str(pairs / "other.txt")).sizes["pixel_classes"] == 4
    (pairs / "classes.txt").unlink()
    turned = folder(values=[2, 1, 0])
    assert turned.classes == ["2", "1", "0"]
    assert np.array_equal(turned.splits["test"].labels, 2 - folder().splits["test"].labels)


def test_black_and_white_masks_are_asked_about(folder: Callable[..., MaskFolder], pairs: Path) -> None:
    for path in pairs.glob("*/masks/*.png"):
        Image.fromarray(255 * (np.asarray(Image.open(path)) > 1).astype(np.uint8)).save(path)
    with pytest.raises(UserError, match=r"0 and 255 alone.*\n.*data.values=\[0,255\]"):
        folder()
    data = folder(values=[0, 255])
    assert set(np.unique(data.splits["train"].labels)) == {0, 1}


def test_palettes_are_numbers_and_255_is_ignored(folder: Callable[..., MaskFolder], pairs: Path) -> None:
    mask = np.asarray(Image.open(pairs / "test" / "masks" / "000.png")).copy()
    mask[:5] = 255
    image = Image.fromarray(mask, mode="P")
    image.putpalette([number for i in range(256) for number in (i, 255 - i, 7)])
    image.save(pairs / "test" / "masks" / "000.png")
    assert np.array_equal(folder().splits["test"].labels[0], mask)
    assert len(folder().classes) == 3


def test_masks_are_resized_and_cut_with_their_pictures(folder: Callable[..., MaskFolder], tmp_path: Path) -> None:
    root = tmp_path / "wide"
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    mask = np.zeros((40, 60), np.uint8)
    mask[10:30, 20:50] = 1  # in the middle 40 columns, 10 to 50: from column 10 on
    for number in range(12):
        Image.fromarray(mask).save(root / "masks" / f"{number}.png")
        Image.fromarray(255 * mask[..., None].repeat(3, 2)).save(root / "images" / f"{number}.png")
    data = folder(root=root, image_size=20, shift=0, flip=False)
    expected = np.zeros((20, 20), np.uint8)
    expected[5:15, 5:20] = 1
    split = data.splits["train"]
    assert np.array_equal(split.labels[0], expected)
    assert np.array_equal(split.images[split.rows[0], ..., 0] > 127, expected == 1)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda root: (root / "train/masks/003.png").unlink(),
            r"The image .*003.jpg has no mask: none is called '003'",
        ),
        (lambda root: (root / "train/images/003.jpg").unlink(), r"The mask .*003.png has no image"),
        (
            lambda root: Image.new("L", (10, 20)).save(root / "train/masks/003.png"),
            r"003.jpg has 20x20 pixels, and its mask .*003.png 10x20",
        ),
        (
            lambda root: Image.new("RGB", (20, 20)).save(root / "train/masks/003.png"),
            r"003.png has colours \(mode RGB\)",
        ),
        (
            lambda root: Image.fromarray(np.full((20, 20), 300, np.uint16)).save(root / "train/masks/003.png"),
            r"003.png has the value 300",
        ),
        (lambda root: (root / "train/masks/003.png").write_bytes(b"no"), r"003.png cannot be read as a mask"),
        (lambda root: (root / "classes.txt").write_text("a\nb\n"), r"masks/\d+.png has the value 2, .* from 0 to 1"),
        (lambda root: (root / "classes.txt").write_text("a\n"), r"has 1 class: it takes two"),
        (lambda root: (root / "train/masks").rename(root / "train/labels"), r"There is no folder .*train/masks"),
        (
            lambda root: Image.new("L", (20, 20)).save(root / "train/images/003.png"),
            r"003.* and .*003.* have one name",
        ),
    ],
)
def test_what_is_wrong_is_named(
    folder: Callable[..., MaskFolder], pairs: Path, tmp_path: Path, damage: Callable[[Path], Any], message: str
) -> None:
    damage(pairs)
    with pytest.raises(UserError, match=message):
        folder()
    assert not [path for path in (tmp_path / "cache").glob("*") if path.suffix == ".partial"]


def test_too_many_for_memory(folder: Callable[..., MaskFolder]) -> None:
    with pytest.raises(UserError, match=r"GiB decoded, more than data.cache=1e-06"):
        folder(cache=1e-6)
