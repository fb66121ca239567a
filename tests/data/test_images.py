"""A data set of one's own: what the README says of it, and what is told when it gives something else."""

import numpy as np
import pytest
import torch

from project.data.images import ImageDataModule
from project.data.loader import alone
from project.data.pictures import Split
from project.errors import UserError
from project.runs.building import build_data
from tests.conftest import compose_config

IMAGES, LABELS = np.zeros((40, 8, 8, 3), dtype=np.uint8), np.arange(40) % 2


class Own(ImageDataModule):
    classes = ["cat", "dog"]  # noqa: RUF012
    given: dict = {"train": Split.whole(IMAGES, LABELS), "test": Split.whole(IMAGES, LABELS)}  # noqa: RUF012

    def read(self) -> dict[str, Split]:
        return dict(self.given)


def own() -> ImageDataModule:
    cfg = compose_config("data=shapes")
    cfg.data = {"_target_": f"{__name__}.Own", "batch_size": 8}
    module = build_data(cfg)
    assert isinstance(module, ImageDataModule)
    return module


def test_read_is_all_that_it_takes() -> None:
    module = own()
    assert module.sizes == {"num_classes": 2, "image_shape": [3, 8, 8]}
    assert module.counts == {"train": 36, "val": 4, "test": 40}
    assert len(list(module.train_dataloader())) == 4


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ((IMAGES, LABELS), "Own.read gives a tuple for 'train': make it Split.whole"),
        (Split.whole(IMAGES.astype(np.float32), LABELS), r"must be \(N, H, W, 3\) uint8, got .* float32"),
        (Split.whole(IMAGES[..., 0], LABELS), r"must be \(N, H, W, 3\) uint8, got \(40, 8, 8\) uint8"),
        (Split.whole(IMAGES, LABELS.astype(np.int32)), "labels must be int64 from 0 to 1, got int32"),
        (Split.whole(IMAGES, LABELS + 1), "labels must be int64 from 0 to 1, got int64 from 1 to 2"),
    ],
)
def test_what_read_must_not_give(monkeypatch: pytest.MonkeyPatch, train: object, message: str) -> None:
    monkeypatch.setattr(Own, "given", {**Own.given, "train": train})
    with pytest.raises(UserError, match=message):
        own()


def test_examples_are_spread_over_the_classes_and_the_same_whenever_they_are_asked_for() -> None:
    cfg = compose_config("data=shapes", "data.train_images=200", "data.test_images=20")
    module = build_data(cfg)
    assert isinstance(module, ImageDataModule)
    everything = torch.cat([images for images, _ in module.val_dataloader()])
    found = list(module.examples("val", 20, batch_size=8))
    assert [len(labels) for _, labels in found] == [8, 8, 4]
    images, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    assert labels.tolist() == sorted([*range(10)] * 2)
    assert all((everything == image).flatten(1).all(1).any() for image in images)
    again = list(module.examples("val", 20, batch_size=8))
    assert torch.equal(torch.cat([part for part, _ in again]), images)
    assert len(next(module.examples("val", 1000, batch_size=1000))[0]) == len(everything)


def test_a_look_at_a_loader_alone_gives_what_it_will_give_and_moves_nothing() -> None:
    loader = build_data(compose_config("data=shapes", "data.train_images=100", "data.batch_size=16")).train_dataloader()
    loader.set_epoch(3)
    look, _ = next(alone(loader, 5, 5).batches(3, 0))
    assert loader.state_dict()["position"] == 0
    images, _ = next(iter(loader))
    assert torch.equal(look, images[:5])
