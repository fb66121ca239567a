"""Gradients through time: exact by hand; they vanish and explode where they must."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from project.nets.cells import GRU, LSTM, MUT1, MUT2, MUT3, RNN, Cell
from project.nets.gradients import gradient_norms, largest_singular_values, recurrent_matrices
from project.nets.recurrent import Recurrent


def test_norms_by_hand() -> None:
    """One unit: dL/dh_{t-1} = dL/dh_t (1 - h_t^2) w."""
    net = Recurrent(RNN, 1, 1)
    w, x = 0.7, torch.tensor([[[0.3], [-0.2]], [[0.5], [0.1]], [[-1.0], [2.0]]])
    with torch.no_grad():
        net.cells[0].W_hh.weight.fill_(w)  # type: ignore[union-attr, operator]
    outputs, _ = net.unrolled(x)
    h = outputs.detach()[:, :, 0]  # (T, B)
    factor = torch.tensor([2.0, -4.0])  # of each sequence's loss
    last = factor.abs()
    before = last * (1 - h[2] ** 2) * w
    first = before * (1 - h[1] ** 2) * w
    norms = gradient_norms(net, x, lambda output: (output[:, 0] * factor).sum())
    assert norms[0].tolist() == pytest.approx([last.mean().item(), before.mean().item(), first.mean().item()], rel=1e-5)
    assert all(parameter.grad is None for parameter in net.parameters())


def copy_task(cell: Callable[[int, int], Cell], scale: float = 1.0, steps: int = 100) -> Tensor:
    """Norms by distance of an untrained network that is asked, `steps` steps later, for the first of its inputs."""
    torch.manual_seed(0)
    net, head = Recurrent(cell, 10, 32), nn.Linear(32, 8)
    if scale != 1:
        with torch.no_grad():
            net.cells[0].W_hh.weight *= scale  # type: ignore[union-attr, operator]
    symbols = torch.randint(8, (16,))
    inputs = F.one_hot(torch.cat([symbols[None], torch.full((steps - 1, 16), 8), torch.full((1, 16), 9)]), 10).float()
    return gradient_norms(net, inputs, lambda output: F.cross_entropy(head(output), symbols, reduction="sum"))[0]


def test_the_vanilla_network_s_gradient_vanishes() -> None:
    norms = copy_task(RNN)
    assert len(norms) == 101
    assert norms[100] < 1e-5 * norms[0]
    assert norms[50] < 1e-2 * norms[0]


@pytest.mark.parametrize(("scale", "growth"), [(2.0, 1e3), (4.0, 1e12)])
def test_it_explodes_with_a_larger_matrix(scale: float, growth: float) -> None:
    norms = copy_task(RNN, scale)
    assert norms[100] > growth * norms[0]


def test_the_lstm_s_gradient_does_neither() -> None:
    """With forget gates that are open; with the usual bias of 1 it vanishes far more slowly than the RNN's."""
    norms = copy_task(partial(LSTM, forget_bias=5.0))
    assert norms[1:].min() / norms[0] > 0.01
    assert norms.max() / norms[0] < 10
    usual, vanilla = copy_task(LSTM), copy_task(RNN)
    assert usual[100] / usual[0] > 100 * vanilla[100] / vanilla[0]


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        (RNN, ["W_hh"]),
        (LSTM, ["W_hi", "W_hf", "W_ho", "W_hg"]),
        (GRU, ["W_hr", "W_hz", "W_hh"]),
        (partial(GRU, reset="after"), ["W_hr", "W_hz", "W_hh"]),
        (MUT1, ["W_hr", "W_hh"]),
        (MUT2, ["W_hr", "W_hz", "W_hh"]),
        (MUT3, ["W_hr", "W_hz", "W_hh"]),
    ],
)
def test_every_cell_s_recurrent_matrices(cell: Callable[[int, int], Cell], names: list[str]) -> None:
    torch.manual_seed(0)
    net = Recurrent(cell, 6, 6, num_layers=2)
    assert sorted(recurrent_matrices(net.cells[0])) == sorted(names)  # type: ignore[arg-type]
    values = largest_singular_values(net)  # W_hh starts orthogonal
    assert values == pytest.approx({f"layer{i}/{name}": 1 for i in range(2) for name in names}, rel=1e-5)


def test_matrices_are_the_columns_of_the_state() -> None:
    cell = LSTM(3, 5)
    found = recurrent_matrices(cell)
    assert all(torch.equal(found[f"W_h{gate}"], cell.W.weight[5 * i : 5 * i + 5, 3:]) for i, gate in enumerate("ifog"))
    with torch.no_grad():
        cell.W.weight[5:10, 3:].copy_(torch.diag(torch.tensor([1.0, -7, 2, 3, 0])))
    assert largest_singular_values(Recurrent(lambda m, n: cell, 3, 5))["layer0/W_hf"] == pytest.approx(7)


class Twofold(Cell):
    """A cell of a user's own: two gates of one matrix over [h; x], and a matrix behind a matrix."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.both = nn.Linear(hidden_size + input_size, 2 * hidden_size)
        self.inner, self.outer = nn.Linear(hidden_size, 7), nn.Linear(7, hidden_size)

    def step(self, x: Tensor, h: Tensor) -> Tensor:  # type: ignore[override]
        a, b = self.both(torch.cat([h, x], 1)).chunk(2, 1)
        return torch.tanh(a * b + self.outer(torch.relu(self.inner(h)) + 1))


def test_a_cell_of_one_s_own() -> None:
    cell = Twofold(3, 4)
    found = recurrent_matrices(cell)
    assert torch.equal(found["both.1"], cell.both.weight[4:, :4])
    assert {name: len(matrix) for name, matrix in found.items()} == {"both.0": 4, "both.1": 4, "inner": 7, "outer": 4}
