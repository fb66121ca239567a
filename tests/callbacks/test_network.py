"""The table of layers counts what a pencil counts."""

from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from project.callbacks.network import Layer, layers, table
from project.nets.cells import GRU
from project.nets.language_model import LanguageModel
from project.train import train
from tests.runs.text import tiny_text


class Odd(nn.Module):
    """Uses the weights of a layer that it does not call."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(3, 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.used.weight.t()


def test_convolutions_and_matrices() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5),
        nn.Unflatten(1, (5, 1, 1)), nn.ConvTranspose2d(5, 2, 2),
    )  # fmt: skip
    found = layers(net.eval(), (torch.zeros(1, 3, 4, 4),))
    assert found == [
        Layer("0", "Conv2d", "1 x 4 x 4 x 4", 4 * 27 + 4, 16 * 4 * 27),
        Layer("1", "BatchNorm2d", "1 x 4 x 4 x 4", 8, 0),
        Layer("4", "Linear", "1 x 5", 64 * 5 + 5, 64 * 5),
        Layer("6", "ConvTranspose2d", "1 x 2 x 2 x 2", 5 * 2 * 4 + 2, 5 * 2 * 4),
    ]
    text = table(found, net, (torch.zeros(1, 3, 4, 4),))
    assert "| **all** | Sequential | | 487 (487 trained) | 2,088 |" in text
    assert text.endswith("Forward, for inputs of shape 1 x 3 x 4 x 4.")


def test_a_layer_that_is_called_twice_costs_twice_and_one_that_is_not_called_is_not_forgotten() -> None:
    layer = nn.Linear(3, 3, bias=False)
    (found,) = layers(nn.Sequential(layer, nn.ReLU(), layer), (torch.zeros(1, 3),))
    assert found == Layer("0", "Linear", "1 x 3", 9, 18)
    (odd,) = layers(Odd(), (torch.zeros(1, 3),))
    assert odd == Layer("used", "Linear", "", 6, None)
    assert "| 6 (6 trained) | at least 0 |" in table([odd], Odd(), (torch.zeros(1, 3),))


def test_recurrent_layers_count_every_time_step() -> None:
    net = LanguageModel(11, GRU, hidden_size=4, num_layers=1, embedding_size=4)
    found = {layer.name: layer for layer in layers(net.eval(), (torch.zeros(5, 1, dtype=torch.long),))}
    assert found["recurrent"].multiply_adds == 5 * (3 * 4 * 4 + 3 * 4 * 4)
    assert (found["embedding"].multiply_adds, found["head"].multiply_adds) == (0, 5 * 4 * 11)


@pytest.mark.slow
def test_a_run_shows_its_network_once(tmp_path: Path) -> None:
    train(tiny_text(tmp_path, "trainer.val_check_interval=7"))
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    assert len(events.Tensors("network/text_summary")) == 1
    assert "network/graph/text_summary" not in events.Tags()["tensors"]  # no reason why it is missing
    names = {node.name for node in events.Graph().node}
    assert any("recurrent" in name for name in names)
