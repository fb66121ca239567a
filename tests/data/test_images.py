"""A data set of one's own: what the README says of it, and what is told when it gives something else."""

import numpy as np
import pytest

from project.data.images import ImageDataModule, Split
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
