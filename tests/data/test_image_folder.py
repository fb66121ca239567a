"""Folders of pictures: what is found, decoded, cached, streamed, and refused."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from project.data.decode import fitted, open_rgb, random_resized_crop
from project.data.image_folder import IMAGENET_MEAN, IMAGENET_STD, ImageFolder
from project.data.images import read_image
from project.data.loader import ImageLoader
from project.data.stream import StreamLoader
from project.errors import UserError
from tests.data.conftest import equal, make_images


def opened(root: Path, **arguments: Any) -> ImageFolder:
    settings: dict[str, Any] = {"cache_folder": str(root.parent / "cache"), "num_workers": 0, "batch_size": 6}
    module = ImageFolder(str(root), **{**settings, **arguments})
    module.prepare_data()
    module.setup()
    return module


def test_train_and_test_folders(folder: Path) -> None:
    module = opened(folder)
    assert module.classes == ["cat", "dog", "fox"]
    assert module.counts == {"train": 54, "val": 6, "test": 24}
    assert module.sizes == {"num_classes": 3, "image_shape": [3, 20, 20]}


def test_a_val_folder_is_the_validation_set(folder: Path) -> None:
    for name in ("cat", "dog", "fox"):
        make_images(folder / "valid" / name, 5, seed=20)
    assert opened(folder).counts == {"train": 60, "val": 15, "test": 24}


def test_flat_folders_are_split_by_seed(folder: Path) -> None:
    for cache in (4.0, 0):
        module = opened(folder / "train", test_fraction=0.25, val_fraction=0.2, cache=cache)
        assert module.counts == {"train": 36, "val": 9, "test": 15}
        rows = [row for split in module.splits.values() for row in split.rows.tolist()]
        assert sorted(rows) == list(range(60))


def test_images_are_those_of_their_files(folder: Path) -> None:
    """An image that fits is served untouched, and under its own folder's label."""
    module = opened(folder)
    [(images, labels)] = module.test_dataloader()
    scale, offset = torch.tensor(module.std).view(3, 1, 1), torch.tensor(module.mean).view(3, 1, 1)
    for label, name in enumerate(module.classes):
        for place, path in enumerate(sorted((folder / "test" / name).iterdir())):
            pixels = np.array(Image.open(path).convert("RGB"))
            assert labels[8 * label + place] == label
            served = ((images[8 * label + place] * scale + offset) * 255).round().byte()
            assert np.array_equal(served.permute(1, 2, 0), pixels)
            assert torch.equal(read_image(path, (3, 20, 20)), served)


def test_second_start_maps_the_cache(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first = list(opened(folder).train_dataloader())
    [entry] = (folder.parent / "cache").glob("pictures-*")
    written = (entry / "images.npy").stat().st_mtime_ns
    assert "Decoding" in capfd.readouterr().err
    assert equal(list(opened(folder).train_dataloader()), first)
    assert (entry / "images.npy").stat().st_mtime_ns == written
    assert "Decoding" not in capfd.readouterr().err


def test_a_changed_folder_is_decoded_anew(folder: Path) -> None:
    opened(folder)
    make_images(folder / "test" / "cat", 9, seed=99)
    assert opened(folder).counts["test"] == 25
    opened(folder, image_size=16)
    assert len(list((folder.parent / "cache").glob("pictures-*"))) == 3


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_change_nothing(folder: Path, workers: int) -> None:
    for cache in (4.0, 0.0):
        alone = opened(folder, cache=cache, cache_folder=str(folder.parent / "alone"))
        helped = opened(folder, cache=cache, num_workers=workers)
        for split in ("train_dataloader", "test_dataloader"):
            assert equal(list(getattr(helped, split)()), list(getattr(alone, split)()))


def test_large_data_are_streamed(folder: Path) -> None:
    size = 84 * 20 * 20 * 3 / 2**30
    assert isinstance(opened(folder, cache=size).train_dataloader(), ImageLoader)
    module = opened(folder, cache=size * 0.99)
    assert isinstance(module.train_dataloader(), StreamLoader)
    assert (module.mean, module.std) == (IMAGENET_MEAN, IMAGENET_STD)


def test_streamed_images_equal_one_at_a_time(folder: Path) -> None:
    module = opened(folder, cache=0, image_size=12, seed=3)
    loader = module.train_dataloader()
    assert isinstance(loader, StreamLoader)
    loader.set_epoch(2)
    order = iter(loader.order(2).tolist())
    for images, labels in loader:
        for image, label in zip(images, labels, strict=True):
            number = next(order)
            rng = np.random.default_rng((3, 2, number))
            pixels = random_resized_crop(open_rgb(loader.paths[number]), 12, 12, rng)
            assert loader.paths[number].parent.name == module.classes[label]
            expected = (pixels / 255 - IMAGENET_MEAN) / IMAGENET_STD
            torch.testing.assert_close(image, torch.tensor(expected).permute(2, 0, 1).float(), rtol=1e-5, atol=1e-5)


def test_streamed_images_alternate_their_sides(folder: Path) -> None:
    module = opened(folder, cache=0, image_size=12, seed=3, flip="alternating")
    mirrored: list[dict[int, bool]] = []
    for epoch in (0, 1):
        loader = module.train_dataloader()
        assert isinstance(loader, StreamLoader)
        loader.set_epoch(epoch)
        order, sides = iter(loader.order(epoch).tolist()), dict[int, bool]()
        for image in (image for images, _ in loader for image in images):
            number = next(order)
            rng = np.random.default_rng((3, epoch, number))
            pixels = random_resized_crop(open_rgb(loader.paths[number]), 12, 12, rng, flip=False)
            plain = torch.tensor((pixels / 255 - IMAGENET_MEAN) / IMAGENET_STD).permute(2, 0, 1).float()
            sides[number] = not torch.allclose(image, plain, atol=1e-5)
            torch.testing.assert_close(image, plain.flip(2) if sides[number] else plain, rtol=1e-5, atol=1e-5)
        mirrored.append(sides)
    both = [mirrored[0][number] != mirrored[1][number] for number in mirrored[0].keys() & mirrored[1].keys()]
    assert len(both) > 20
    assert all(both)


def test_random_resized_crop_covers_8_to_100_percent_at_3_to_4() -> None:
    """Every pixel's value is its place, so that the crop can be read off the result."""
    rows, columns = np.mgrid[0:240, 0:240].astype(np.uint8)
    image = Image.fromarray(np.stack([rows, columns, rows], axis=2))
    areas, mirrored = [], 0
    for index in range(400):
        crop = random_resized_crop(image, 32, 32, np.random.default_rng(index)).astype(float)
        height, width = np.ptp(crop[:, 0, 0]) * 32 / 31, abs(crop[0, -1, 1] - crop[0, 0, 1]) * 32 / 31
        mirrored += crop[0, -1, 1] < crop[0, 0, 1]
        areas.append(height * width / 240**2)
        assert 0.7 < width / height < 1.45
    assert 0.07 < min(areas) < 0.11
    assert 0.85 < max(areas) < 1.03
    assert 160 < mirrored < 240


@pytest.mark.parametrize(
    ("size", "box"),
    [((40, 20), (10, 0, 30, 20)), ((20, 60), (0, 20, 20, 40)), ((20, 20), (0, 0, 20, 20))],
)
def test_fitted_takes_the_centre(size: tuple[int, int], box: tuple[int, int, int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    assert np.array_equal(fitted(image, 20, 20), np.array(image.crop(box)))
    smaller = image.resize((10, 10), Image.Resampling.BILINEAR, box=box)
    assert np.array_equal(fitted(image, 10, 10), np.array(smaller))
    assert fitted(image, 8, 12).shape == (8, 12, 3)


def test_every_mode_becomes_rgb(tmp_path: Path) -> None:
    red = Image.new("RGB", (4, 4), (200, 0, 0))
    turned = Image.new("RGB", (4, 2), (0, 0, 0))
    turned.putpixel((0, 0), (9, 9, 9))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right
    red.convert("P").save(tmp_path / "palette.png")
    red.convert("RGBA").save(tmp_path / "alpha.png")
    red.convert("L").save(tmp_path / "grey.png")
    Image.fromarray(np.full((4, 4), 60 * 257, dtype=np.uint16)).save(tmp_path / "deep.png")
    turned.save(tmp_path / "turned.png", exif=exif)
    for name, colour in {"palette": (200, 0, 0), "alpha": (200, 0, 0), "grey": (60,) * 3, "deep": (60,) * 3}.items():
        image = open_rgb(tmp_path / f"{name}.png")
        assert image.mode == "RGB"
        assert np.abs(np.array(image).astype(int) - colour).max() <= 4  # the palette has no exact red
    upright = open_rgb(tmp_path / "turned.png")
    assert upright.size == (2, 4)
    assert upright.getpixel((1, 0)) == (9, 9, 9)


@pytest.mark.parametrize(("sides", "size"), [((20,), 20), ((40, 50), 32), ((300, 250), 224), ((10, 12), 32)])
def test_image_size_null(tmp_path: Path, sides: tuple[int, ...], size: int) -> None:
    for number, side in enumerate(sides):
        for name in ("a", "b"):
            make_images(tmp_path / "pictures" / name / str(number), 12, size=(side, side), seed=number)
    assert opened(tmp_path / "pictures", test_fraction=0.2).sizes["image_shape"] == [3, size, size]


def spoil(folder: Path) -> Path:
    """The third cat to train on is cut off in the middle."""
    path = sorted((folder / "train" / "cat").iterdir())[2]
    path.write_bytes(path.read_bytes()[:300])
    return path


@pytest.mark.parametrize("cache", [4.0, 0.0])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_named(folder: Path, cache: float, workers: int) -> None:
    path = spoil(folder)
    with pytest.raises(UserError, match=f"{path} cannot be read as an image: .*\n.*data.on_error=skip"):
        for _ in opened(folder, cache=cache, num_workers=workers).train_dataloader():
            pass
    assert not list((folder.parent / "cache").glob("pictures-*"))


def test_broken_images_are_left_out_of_the_cache(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = spoil(folder)
    module = opened(folder, on_error="skip")
    assert f"1 of 84 images are left out; the first: {path}" in caplog.text
    assert sum(module.counts.values()) == 83
    for split in module.splits.values():
        labels = [0 if row < 20 or 60 <= row < 68 else 1 if row < 40 or 68 <= row < 76 else 2 for row in split.rows]
        assert labels == split.labels.tolist()
        assert 2 not in split.rows
    with pytest.raises(UserError, match=str(path)):  # the cache does not hide it
        opened(folder)


def test_broken_images_are_left_out_of_the_stream(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = spoil(folder)
    module = opened(folder, on_error="skip", cache=0, batch_size=54)
    loader = module.train_dataloader()
    [(images, labels)] = loader
    assert f"Left out, 1 so far: {path}" in caplog.text
    numbers = [number for number in loader.order(0).tolist() if loader.paths[number] != path]  # type: ignore[attr-defined]
    assert len(images) == len(labels) == len(numbers) == 53
    assert [loader.paths[number].parent.name for number in numbers] == [module.classes[label] for label in labels]  # type: ignore[attr-defined]


def test_what_is_missing_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"There is no folder {tmp_path}/nowhere.\n.*data.root=PATH"):
        opened(tmp_path / "nowhere")
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    (tmp_path / "empty" / "cat" / "notes.txt").write_text("no picture")
    with pytest.raises(UserError, match=f"There are no images in {tmp_path}/empty: one folder per class is expected"):
        opened(tmp_path / "empty")
    shutil.rmtree(folder / "test" / "dog")
    with pytest.raises(UserError, match=f"Class 'dog' has no images in {folder}/test"):
        opened(folder)
    (folder / "test" / "dog").mkdir()
    with pytest.raises(UserError, match=f"Class 'dog' has no images in {folder}/test"):
        opened(folder)
    make_images(folder / "test" / "dog", 2)
    make_images(folder / "test" / "wolf", 2)
    with pytest.raises(UserError, match=f"Class 'wolf' of {folder}/test is not in {folder}/train"):
        opened(folder)


def test_no_place_for_the_cache(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written to .*/file/cache.*\n.*data.cache_folder=PATH"):
        opened(folder, cache_folder=str(tmp_path / "file" / "cache"))


def test_a_damaged_cache_is_named(folder: Path) -> None:
    opened(folder)
    [entry] = (folder.parent / "cache").glob("pictures-*")
    (entry / "images.npy").write_bytes(b"")
    with pytest.raises(UserError, match=f"The cache {entry} cannot be read"):
        opened(folder)


@pytest.mark.slow
def test_a_killed_decoding_leaves_nothing_that_hurts(folder: Path) -> None:
    make_images(folder / "train" / "cat", 300, size=(200, 200))
    cache = folder.parent / "cache"
    code = f"""
from project.data.image_folder import ImageFolder
ImageFolder({str(folder)!r}, cache_folder={str(cache)!r}, num_workers=0, image_size=200).prepare_data()
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, env=environment)
    deadline = time.monotonic() + 60
    while not list(cache.glob(".*.partial/entry/images.npy")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert list(cache.glob(".*.partial"))
    assert not list(cache.glob("pictures-*"))
    opened(folder)
    assert not list(cache.glob(".*.partial"))
    assert len(list(cache.glob("pictures-*"))) == 1


@pytest.mark.parametrize(
    ("arguments", "law"),
    [
        ({"image_size": 0}, "data.image_size must be at least 1, or null, got 0"),
        ({"cache": -1.0}, "data.cache must be at least 0 GiB, got -1.0"),
        ({"on_error": "ignore"}, "data.on_error must be raise or skip, got ignore"),
        ({"num_workers": -1}, "data.num_workers must be at least 0, or null, got -1"),
        ({"test_fraction": 0.0}, "data.test_fraction must lie between 0 and 1, both excluded, got 0.0"),
    ],
)
def test_laws_of_the_arguments(arguments: dict[str, Any], law: str) -> None:
    with pytest.raises(ValueError, match=law):
        ImageFolder("anywhere", **arguments)
