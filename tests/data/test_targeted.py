"""Targets that move with their images: exactly, whatever was drawn for a batch."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from project.data.pictures import Split
from project.data.shape_corners import CORNERS, MIRRORED, ShapeCorners, draw_corners, polygon_cover
from project.data.shape_masks import CLASSES, draw_masks
from project.data.targeted import IGNORED, Moves, moved_masks, moved_points, random_split
from tests.data.conftest import Build
from tests.data.test_contract import TARGETED, ready


def pixels(images: Tensor, mean: list[float], std: list[float]) -> Tensor:
    """(B, H, W, 3) 0..255 of normalised images."""
    shares = images.permute(0, 2, 3, 1) * torch.tensor(std) + torch.tensor(mean)
    return (255 * shares).round().int()


@pytest.mark.parametrize("name", TARGETED)
def test_sizes_and_batches(build: Build, name: str) -> None:
    module: Any = ready(build(name))
    assert all(0 < value < 1 for value in [*module.mean, *module.std])
    for split in ("train", "val", "test"):
        loader = getattr(module, f"{split}_dataloader")()
        seen = 0
        for images, targets in loader:
            assert images.dtype == torch.float32
            assert images.is_contiguous(memory_format=torch.channels_last)
            assert images.shape == (len(targets), *module.sizes["image_shape"])
            points = "num_points" in module.sizes
            assert targets.shape[1:] == ((module.sizes["num_points"], 2) if points else images.shape[2:])
            assert targets.dtype == (torch.float32 if points else torch.uint8)
            seen += len(targets)
        assert split == "train" or seen == module.counts[split]
    (what, names), *_ = module.named.items()
    assert len(names) == module.sizes["num_points" if what == "points" else "pixel_classes"]
    assert module.facts == {what: names, "mean": module.mean, "std": module.std}
    ((images, targets),) = module.examples("val", 3)
    assert len(images) == len(targets) == 3


def test_masks_are_shifted_and_mirrored_as_their_images_are(build: Build) -> None:
    module = build("shape_masks", shift=3, flip=True)
    masks = np.random.default_rng(0).integers(0, 11, (60, 16, 16), dtype=np.uint8)
    images = 10 * masks[..., None].repeat(3, axis=3) + 5  # the picture tells the class of each pixel
    module.read = lambda: {"train": Split.whole(images, masks), "test": Split.whole(images, masks)}  # type: ignore[method-assign]
    ready(module)
    loader = module.train_dataloader()
    for epoch in range(2):
        loader.set_epoch(epoch)
        for batch, targets in loader:
            seen = pixels(batch, module.mean, module.std)[..., 0]
            outside = targets == IGNORED
            assert 0 < outside.float().mean() < 0.5
            assert torch.equal(seen[~outside], 10 * targets[~outside].int() + 5)
            assert not seen[outside].any()  # what was brought in
    flips = {bool(torch.equal(targets, moved_masks(targets, still(len(targets))))) for _, targets in loader}
    assert flips == {True}  # a move by nothing moves nothing


def still(count: int) -> Moves:
    return Moves(*torch.zeros(3, count, dtype=torch.int64))


def test_points_land_where_their_pixels_land(build: Build) -> None:
    module = build("shape_corners", shift=3, flip=True)
    rng = np.random.default_rng(0)
    points = rng.integers(5, 27, (60, 4, 2))
    images = np.zeros((60, 32, 32, 3), np.uint8)
    for image, own in zip(images, points, strict=True):
        for k, (x, y) in enumerate(own):
            image[y, x, 0] = 0  # a later point may stand on an earlier one
            image[y, x] = [50 * (k + 1), 10, 10]
    whole = Split.whole(images, points.astype(np.float32))
    module.read = lambda: {"train": whole, "test": whole}  # type: ignore[method-assign]
    ready(module)
    kept = mirrored = 0
    for batch, targets in module.train_dataloader():
        seen = pixels(batch, module.mean, module.std)[..., 0]
        for image, own in zip(seen, targets.long(), strict=True):
            colours = [int(image[y, x]) // 50 - 1 for x, y in own.tolist()]
            if len({tuple(point) for point in own.tolist()}) < 4:
                continue
            kept += colours == [0, 1, 2, 3]
            mirrored += colours == list(MIRRORED)
            assert colours in ([0, 1, 2, 3], list(MIRRORED))
    assert kept > 5
    assert mirrored > 5


def test_moves_by_hand() -> None:
    masks = torch.tensor([[[1, 2, 3], [4, 5, 6]]], dtype=torch.uint8).repeat(2, 1, 1)
    moves = Moves(torch.tensor([1, 0]), torch.tensor([-1, 1]), torch.tensor([0, 1]))
    assert moved_masks(masks, moves).tolist() == [
        [[255, 4, 5], [255, 255, 255]],
        [[255, 3, 2], [255, 6, 5]],
    ]
    points = torch.tensor([[[1.0, 1.0], [0.25, 0.0]]]).repeat(2, 1, 1)
    found = moved_points(points, moves, height=2, width=3, mirrored=torch.tensor([1, 0]))
    assert found[0, 0].tolist() == [2.0, 0.0]
    assert found[0, 1].isnan().all()  # it has left the picture
    # from (0.25, 0), which the shift brings to -0.75 and the mirror to 2.75: outside of it
    assert found[1, 0].isnan().all()
    assert found[1, 1].tolist() == [2.0, 1.0]


def test_a_random_split_is_a_function_of_its_numbers() -> None:
    kept, held = random_split(20, 0.25, seed=3)
    assert len(held) == 5
    assert sorted([*kept, *held]) == list(range(20))
    assert np.array_equal(random_split(20, 0.25, seed=3)[1], held)
    assert not np.array_equal(random_split(20, 0.25, seed=4)[1], held)
    assert len(random_split(2, 0.99, seed=0)[0]) == 1


def test_corners_are_those_of_the_figure_that_is_drawn() -> None:
    first, again, other = (draw_corners(30, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.images, again.images)
    assert not np.array_equal(first.labels, other.labels)
    assert first.images.shape == (30, 32, 32, 3)
    assert first.labels.shape == (30, 4, 2)
    assert 2 <= first.labels.min() <= first.labels.max() <= 29  # inside, however they are shifted
    tip, left, tail, right = first.labels.swapaxes(0, 1)
    axis = tip - tail
    for wing, side in ((left, 1), (right, -1)):
        across = wing - tail
        turn = axis[:, 0] * across[:, 1] - axis[:, 1] * across[:, 0]
        assert (np.sign(turn) == -side).all()  # as seen from the tail, with y down
    middle = (left + right) / 2
    assert (np.linalg.norm(tip - middle, axis=1) > 1.5 * np.linalg.norm(tail - middle, axis=1)).all()
    assert len(CORNERS) == 4


def test_a_polygon_covers_its_pixels() -> None:
    square = np.array([[[1.5, 0.5], [1.5, 3.5], [4.5, 3.5], [4.5, 0.5]]], np.float32)
    cover = polygon_cover(square, side=6)[0]
    expected = np.zeros((6, 6))
    expected[1:4, 2:5] = 1
    assert np.array_equal(cover, expected)
    dart = np.array([[[3, 0], [0, 6], [3, 3], [6, 6]]], np.float32)  # with a corner that stands in
    cover = polygon_cover(dart, side=7)[0]
    assert cover[2, 3] > 0.9
    assert cover[5, 3] == 0


def test_masks_are_crisp_and_drawn_as_told() -> None:
    first, again = draw_masks(40, 1, 48), draw_masks(40, 1, 48)
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(first.labels, again.labels)
    assert first.labels.shape == (40, 48, 48)
    assert set(np.unique(first.labels)) == set(range(len(CLASSES)))
    counts = [len(set(np.unique(mask)) - {0}) for mask in first.labels]
    assert min(counts) >= 1
    assert max(counts) == 3
    inside = [
        np.abs(image[mask > 0].mean(0) - image[mask == 0].mean(0)).max()
        for image, mask in zip(first.images.astype(float), first.labels, strict=True)
        if len(set(np.unique(mask))) == 2
    ]
    assert min(inside) > 30  # a figure differs from its ground


def test_arguments_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"data.train_images must be at least 2, got 1"):
        ShapeCorners(train_images=1)
