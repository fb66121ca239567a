"""Orthogonal steps for matrices, steps of SGD for the rest."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from project.tasks.muon import Muon, orthogonalised


def gradient_of(weight: Tensor) -> Tensor:
    assert weight.grad is not None
    return weight.grad


@pytest.mark.parametrize("shape", [(8, 8), (4, 30), (30, 4)])
def test_singular_values_come_near_to_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonalised(matrix, steps=8)
    values = torch.linalg.svdvals(found)
    assert 0.6 < values.min() <= values.max() < 1.3
    assert ((u @ v) * found).sum() / (u @ v).norm() / found.norm() > 0.97


def test_hidden_matrices_take_orthogonal_steps_and_the_rest_those_of_sgd() -> None:
    torch.manual_seed(0)
    conv, hidden, last = nn.Conv2d(2, 5, 3), nn.Linear(5, 4), nn.Linear(4, 3)
    net = nn.Sequential(conv, nn.Flatten(), hidden, last)
    assert conv.bias is not None
    before = [part.detach().clone() for part in (conv.weight, hidden.weight, last.weight, conv.bias)]
    optimizer = Muon(net.parameters(), lr=0.1, momentum=0.5, sgd_lr=2.0)
    net(torch.randn(6, 2, 3, 3)).square().sum().backward()
    optimizer.step()
    for weight, old in zip((conv.weight, hidden.weight), before, strict=False):
        flat, rows = ((old - weight).flatten(1) / 0.1).detach(), len(weight)
        expected = orthogonalised(1.5 * gradient_of(weight).flatten(1)) * max(1.0, rows / flat.shape[1]) ** 0.5
        torch.testing.assert_close(flat, expected, atol=1e-5, rtol=1e-4)
    for weight, old in ((last.weight, before[2]), (conv.bias, before[3])):
        torch.testing.assert_close(old - weight, 0.1 * 2.0 * 1.5 * gradient_of(weight))


def test_weight_decay_shrinks() -> None:
    weight = nn.Parameter(torch.eye(3))
    other = nn.Parameter(torch.ones(3, 3))
    optimizer = Muon([weight, other], lr=0.1, momentum=0.0, weight_decay=0.5)
    weight.grad, other.grad = torch.zeros(3, 3), torch.zeros(3, 3)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.eye(3) * (1 - 0.1 * 0.5))
    torch.testing.assert_close(other.detach(), torch.ones(3, 3) * (1 - 0.1 * 0.5))


def test_it_goes_on_from_its_state() -> None:
    def trained(stop: int | None) -> torch.Tensor:
        torch.manual_seed(0)
        first = nn.Linear(4, 4)
        net, inputs = nn.Sequential(first, nn.Linear(4, 1)), torch.randn(8, 4)
        optimizer = Muon(net.parameters())
        for step in range(6):
            if step == stop:
                state = optimizer.state_dict()
                optimizer = Muon(net.parameters())
                optimizer.load_state_dict(state)
            optimizer.zero_grad()
            net(inputs).square().mean().backward()
            optimizer.step()
        return first.weight.detach()

    assert torch.equal(trained(None), trained(3))


@pytest.mark.parametrize(
    ("words", "message"), [({"lr": 0}, "must be positive"), ({"momentum": 1.0}, "below 1, got 1.0")]
)
def test_impossible_rates_are_refused(words: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Muon([nn.Parameter(torch.ones(2, 2))], **words)
