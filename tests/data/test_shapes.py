"""The drawn figures: always the same, all different, and not to be told apart by their colours."""

import numpy as np
import pytest
import torch
from torch import nn

from project.data.shapes import FIGURES, Shapes, draw


def test_the_same_in_every_run() -> None:
    first, again, other = draw(30, seed=1), draw(30, seed=1), draw(30, seed=2)
    assert np.array_equal(first.images, again.images)
    assert not np.array_equal(first.images, other.images)
    assert first.labels.tolist() == list(range(10)) * 3
    assert first.images.shape == (30, 32, 32, 3)
    assert first.images.dtype == np.uint8


@pytest.mark.parametrize("name", FIGURES)
def test_figures_have_their_centre_inside_or_hollow(name: str) -> None:
    x, y = np.meshgrid(np.linspace(-1.5, 1.5, 301), np.linspace(-1.5, 1.5, 301))
    inside = FIGURES[name](x, y) < 0
    assert inside[150, 150] == (name not in ("ring", "frame", "crescent"))
    assert 0.05 < inside.mean() * 9 / np.pi < 0.9  # of the disc around it
    assert not inside[[0, 0, -1, -1], [0, -1, 0, -1]].any()


def test_figures_but_the_crescent_are_their_own_mirror_images() -> None:
    x, y = np.meshgrid(np.linspace(-1, 1, 40), np.linspace(-1, 1, 40))
    own = [name for name, figure in FIGURES.items() if np.allclose(figure(x, y), figure(-x, y), atol=1e-6)]
    assert own == [name for name in FIGURES if name != "crescent"]


def test_sizes_are_chosen() -> None:
    data = Shapes(train_images=100, test_images=20, val_fraction=0.2)
    data.setup()
    assert data.counts == {"train": 80, "val": 20, "test": 20}
    assert data.classes == list(FIGURES)
    with pytest.raises(ValueError, match=r"data.train_images must be at least 20, got 3"):
        Shapes(train_images=3)
    with pytest.raises(ValueError, match=r"data.test_images must be at least 10, got 3"):
        Shapes(test_images=3)


def _accuracy(net: nn.Module, data: Shapes, epochs: int, rate: float) -> float:
    torch.manual_seed(0)
    train = data.train_dataloader()
    optimizer = torch.optim.Adam(net.parameters(), rate)
    for epoch in range(epochs):
        train.set_epoch(epoch)
        for images, labels in train:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images), labels).backward()
            optimizer.step()
    net.eval()
    with torch.no_grad():
        return sum((net(x).argmax(1) == y).sum().item() for x, y in data.test_dataloader()) / data.counts["test"]


@pytest.mark.slow
def test_a_linear_model_does_not_learn_them() -> None:
    data = Shapes(train_images=4000, test_images=1000)
    data.setup()
    assert _accuracy(nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)), data, epochs=5, rate=1e-3) < 0.4


@pytest.mark.slow
def test_a_small_convolutional_network_learns_them() -> None:
    data = Shapes()
    data.setup()
    torch.manual_seed(0)
    stages: list[nn.Module] = []
    for before, after in ((3, 16), (16, 32), (32, 64)):
        stages += [
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
    net = nn.Sequential(*stages, nn.Flatten(), nn.Linear(1024, 10))
    assert _accuracy(net, data, epochs=2, rate=3e-3) > 0.9
