"""The cells that the tests go over: every member of conf/cell, and one of a user's own."""

from collections.abc import Callable
from functools import partial

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from project.nets.cells import GRU, Cell
from project.nets.recurrent import Recurrent
from tests.conftest import CONF, choices

MakeCell = Callable[[int, int], Cell]


class PeepholeRNN(Cell):
    """What a user may write: a matrix over both inputs, a layer that is no matrix, parameters of its own, x itself."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.W = nn.Linear(input_size + hidden_size, hidden_size)
        self.V = nn.Linear(hidden_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size)
        self.slope = nn.Parameter(torch.linspace(0.5, 1.5, hidden_size))

    def step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        c = 0.5 * c + torch.tanh(self.norm(self.W(torch.cat([h, x], dim=1))) * self.slope)
        return torch.sigmoid(self.V(c) + self.slope) * c + x.mean(1, keepdim=True), c


CELLS: dict[str, MakeCell] = {
    name: instantiate(OmegaConf.load(CONF / "cell" / f"{name}.yaml")) for name in choices("cell")
}
CELLS |= {"gru_after": partial(GRU, reset="after"), "own": PeepholeRNN}


def states(recurrent: Recurrent, batch: int) -> list[tuple[Tensor, ...]]:
    """Random ones for every layer and direction, in double precision."""
    return [
        tuple(torch.randn_like(part) for part in state)
        for state in recurrent.initial(batch, torch.empty(0, dtype=torch.double))
    ]
