"""The batches of images in memory against one image at a time, and against Lightning's own loops."""

from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from project.data.loader import ImageLoader
from project.data.shapes import Shapes
from project.errors import UserError

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def small(**arguments: Any) -> ImageLoader:
    """30 images of 6 rows and 8 columns, each labelled with its number."""
    images = torch.randint(0, 256, (30, 6, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    settings = {"batch_size": 8, "mean": MEAN, "std": STD, "train": True, **arguments}
    return ImageLoader(images, torch.arange(30), **settings)


def one(raw: Tensor, loader: ImageLoader, draws: dict[str, int]) -> Tensor:
    """One image the slow way: (H, W, 3) bytes to (3, H, W)."""
    height, width = raw.shape[:2]
    out = torch.zeros(3, height, width)
    for y in range(height):
        for x in range(width):
            column = width - 1 - x if loader.flip and draws["flip"] else x
            source_y, source_x = y + draws["dy"] - loader.shift, column + draws["dx"] - loader.shift
            inside = 0 <= source_y < height and 0 <= source_x < width
            for channel in range(3):
                value = raw[source_y, source_x, channel].item() if inside else 0
                out[channel, y, x] = (value / 255 - MEAN[channel]) / STD[channel]
            top, left = draws["cut_y"] - loader.cutout // 2, draws["cut_x"] - loader.cutout // 2
            if top <= y < top + loader.cutout and left <= x < left + loader.cutout:
                out[:, y, x] = 0
    return out


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("cutout", [0, 3])
def test_augmentation_equals_one_image_at_a_time(shift: int, flip: bool, cutout: int) -> None:
    loader, raw = small(shift=shift, flip=flip, cutout=cutout), small().images
    loader.set_epoch(2)
    draws = loader.draw(2)
    for number, (images, labels) in enumerate(loader):
        for place, (image, label) in enumerate(zip(images, labels, strict=True), start=8 * number):
            own = {name: int(values[place]) for name, values in draws.items()}
            assert own["order"] == label
            torch.testing.assert_close(image, one(raw[label], loader, own))


def test_random_numbers_cover_their_ranges() -> None:
    loader = ImageLoader(
        torch.zeros(5000, 6, 8, 3, dtype=torch.uint8), torch.zeros(5000), 8, mean=MEAN, std=STD, train=True, shift=2
    )
    draws = loader.draw(0)
    assert sorted(draws["order"].tolist()) == list(range(5000))
    for name, values in {"dy": 5, "dx": 5, "flip": 2, "cut_y": 6, "cut_x": 8}.items():
        counts = torch.bincount(draws[name])
        assert len(counts) == values
        assert (counts.float() / 5000 - 1 / values).abs().max() < 0.03


def test_augmentation_is_independent_of_the_order() -> None:
    loader = ImageLoader(
        torch.zeros(45_000, 6, 8, 3, dtype=torch.uint8), torch.zeros(45_000), 8, mean=MEAN, std=STD, train=True, shift=4
    )
    for epoch in range(3):
        draws = loader.draw(epoch)
        for name, values in {"dy": 9, "dx": 9, "flip": 2, "cut_y": 6, "cut_x": 8}.items():
            equal = (draws[name] == draws["order"] % values).float().mean()
            assert abs(equal - 1 / values) < 6 * (1 / values / 45_000) ** 0.5, name  # six standard deviations


def test_alternating_flips_show_both_sides_in_two_epochs() -> None:
    images = torch.zeros(5000, 6, 8, 3, dtype=torch.uint8)
    loader = ImageLoader(images, torch.zeros(5000), 8, mean=MEAN, std=STD, train=True, flip="alternating")
    sides = []
    for epoch in range(3):
        draws = loader.draw(epoch)
        sides.append(torch.empty(5000, dtype=torch.int64).scatter_(0, draws["order"], draws["flip"]))
    assert torch.equal(sides[0] ^ 1, sides[1])
    assert torch.equal(sides[0], sides[2])
    assert abs(sides[0].float().mean() - 0.5) < 0.03


def test_reflecting_borders_equal_torch_s() -> None:
    images = torch.randint(0, 256, (5, 6, 8, 3), dtype=torch.uint8)
    for shift in (1, 2, 4):
        loader = ImageLoader(images, torch.zeros(5), 5, mean=MEAN, std=STD, train=True, shift=shift, padding="reflect")
        expected = F.pad(images.permute(0, 3, 1, 2).float(), (shift,) * 4, mode="reflect")
        assert torch.equal(loader.images.permute(0, 3, 1, 2).float(), expected)
    with pytest.raises(UserError, match="reflect needs images larger than that, got 6x8"):
        ImageLoader(images, torch.zeros(5), 5, mean=MEAN, std=STD, train=True, shift=6, padding="reflect")


def test_channels_are_shifted_by_their_own_normal_numbers() -> None:
    images = torch.full((4000, 2, 2, 3), 100, dtype=torch.uint8)
    loader = ImageLoader(images, torch.arange(4000), 4000, mean=MEAN, std=STD, train=True, color=0.5)
    [(batch, labels)] = loader
    plain = torch.addcmul(loader.offset[:3], torch.tensor(100.0), loader.scale[:3])
    moved = batch - plain[:, None, None]  # (N, 3, 2, 2)
    draws = loader.draw(0)
    assert labels.tolist() == draws["order"].tolist()
    torch.testing.assert_close(moved, draws["color"][:, :, None, None].expand(-1, -1, 2, 2), atol=1e-5, rtol=0)
    assert abs(draws["color"].std() - 0.5) < 0.02
    assert torch.corrcoef(draws["color"].T).fill_diagonal_(0).abs().max() < 0.08


def test_a_place_in_mid_epoch_fits_only_the_same_batches() -> None:
    images, labels = torch.zeros(24, 2, 2, 3, dtype=torch.uint8), torch.zeros(24)
    state = {"epoch": 1, "position": 2, "batches": 6}
    with pytest.raises(UserError, match=r"in mid-epoch, at batch 2 of 6, and now an epoch has 3"):
        ImageLoader(images, labels, 8, mean=MEAN, std=STD, train=True).load_state_dict(state)
    ImageLoader(images, labels, 8, mean=MEAN, std=STD, train=True).load_state_dict({**state, "position": 6})


def test_values_after_normalisation() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).repeat(1, 2, 2, 1)
    [(batch, labels)] = ImageLoader(images, torch.tensor([7]), 1, mean=(0.5, 0.2, 0.0), std=(0.5, 0.1, 0.25))
    torch.testing.assert_close(batch, torch.tensor([-1.0, 0.0, 4.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2))
    assert labels.tolist() == [7]


def test_evaluation_keeps_order_and_is_not_augmented() -> None:
    loader = small(train=False, shift=2, flip=True, cutout=3)
    assert [labels.tolist() for _, labels in loader] == [list(range(i, min(i + 8, 30))) for i in (0, 8, 16, 24)]
    assert set(loader.draw(0)) == {"order"}


@pytest.mark.parametrize(
    ("samples", "ranks", "shares"),
    [
        (17, 2, [[4, 3, 1], [4, 4, 1]]),  # the last batch would have one image: it takes one from the batch before
        (16, 2, [[4, 4], [4, 4]]),
        (3, 3, [[1], [1], [1]]),
        (20, 1, [[8, 8, 4]]),
    ],
)
def test_no_rank_is_left_without_a_sample(samples: int, ranks: int, shares: list[list[int]]) -> None:
    images = torch.zeros(samples, 2, 2, 3, dtype=torch.uint8)
    for rank, sizes in enumerate(shares):
        loader = ImageLoader(images, torch.zeros(samples), 8, mean=MEAN, std=STD, rank=rank, world_size=ranks)
        assert [len(y) for _, y in loader] == sizes


def test_position_counts_the_batches_handed_out() -> None:
    loader = small()
    batches = iter(loader)
    assert loader.state_dict() == {"epoch": 0, "position": 0, "batches": len(loader)}
    next(batches)
    next(batches)
    assert loader.state_dict() == {"epoch": 0, "position": 2, "batches": len(loader)}
    loader.set_epoch(0)
    assert loader.state_dict() == {"epoch": 0, "position": 2, "batches": len(loader)}
    next(iter(loader))  # someone else has a look at a batch
    next(batches)
    assert loader.state_dict() == {"epoch": 0, "position": 3, "batches": len(loader)}


def test_a_look_at_a_batch_does_not_lose_a_loaded_place() -> None:
    whole = [labels.tolist() for _, labels in small()]
    loader = small()
    loader.load_state_dict({"epoch": 0, "position": 1})
    next(iter(loader))
    assert [labels.tolist() for _, labels in loader] == whole[1:]
    assert [labels.tolist() for _, labels in loader] == whole  # the epoch was at its end: from the start


class _Recorder(lightning.LightningModule):
    """Learns nothing, remembers the labels of every batch, and writes a checkpoint after `save_at` steps."""

    def __init__(self, save_at: int, path: Path) -> None:
        super().__init__()
        self.layer, self.save_at, self.path = nn.Linear(1, 1), save_at, path
        self.seen: list[tuple[int, list[int]]] = []

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        self.seen.append((self.current_epoch, batch[1].tolist()))
        return self.layer(batch[0].mean().view(1)).sum()

    def on_train_batch_end(self, *_: Any) -> None:
        if self.global_step == self.save_at:
            self.trainer.save_checkpoint(self.path)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.mark.parametrize("step", [1, 5, 7, 10, 14])
def test_lightning_resumes_in_mid_epoch(tmp_path: Path, step: int) -> None:
    def fit(checkpoint: Path | None) -> list[tuple[int, list[int]]]:
        quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        module = _Recorder(step, tmp_path / "step.ckpt")
        data = Shapes(train_images=80, test_images=10, batch_size=14)
        lightning.Trainer(max_epochs=3, accelerator="cpu", **quiet).fit(module, datamodule=data, ckpt_path=checkpoint)  # type: ignore[arg-type]
        return module.seen

    whole = fit(None)
    assert [epoch for epoch, _ in whole] == [0] * 5 + [1] * 5 + [2] * 5  # 72 images: 5 batches of 14
    assert len({str(labels) for _, labels in whole}) == 15
    assert fit(tmp_path / "step.ckpt") == whole[step:]
