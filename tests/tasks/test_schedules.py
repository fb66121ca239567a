"""Learning rates of every schedule, step by step, on trainings short enough to write down."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from project.tasks.schedules import Steps, constant, cosine, multistep, onecycle, plateau


def rates(schedule: Callable[..., Any], steps: int, per_epoch: int = 2, **arguments: Any) -> list[float]:
    """The rates of `steps` steps, the optimizer's own being 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = schedule(optimizer, Steps(steps, per_epoch), **arguments)["scheduler"]
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_constant() -> None:
    assert rates(constant, 3) == [1.0, 1.0, 1.0]


def test_cosine_without_warmup_is_half_a_cosine() -> None:
    expected = [(1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)]
    assert rates(cosine, 4) == pytest.approx(expected)


def test_cosine_warms_up_linearly_and_ends_at_its_fraction() -> None:
    seen = rates(cosine, 12, per_epoch=3, warmup_epochs=1.0, final_fraction=0.5)
    assert seen[:4] == pytest.approx([1 / 4, 2 / 4, 3 / 4, 1.0])
    assert seen[-1] == pytest.approx(0.5 + 0.5 * (1 + math.cos(math.pi * 8 / 9)) / 2)


def test_warmup_takes_at_most_a_third() -> None:
    assert max(rates(cosine, 6, per_epoch=100, warmup_epochs=5.0)) == 1.0


def test_multistep_divides_at_fractions() -> None:
    assert rates(multistep, 8) == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_multistep_refuses_epochs_as_fractions() -> None:
    with pytest.raises(ValueError, match=r"scheduler\.milestones are fractions .* got \[30, 60\]"):
        rates(multistep, 8, milestones=[30, 60])


def test_onecycle_is_a_triangle() -> None:
    seen = rates(onecycle, 8, peak=0.25, initial_fraction=0.0)
    assert seen == pytest.approx([0, 0.5, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])


def test_plateau_divides_after_patience() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = plateau(optimizer, Steps(math.inf, 2), patience=1)
    assert schedule["monitor"] == "val/loss"
    seen = []
    for loss in (3.0, 2.0, 2.0, 2.0, 2.0, 2.0):
        schedule["scheduler"].step(loss)
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen == pytest.approx([1, 1, 1, 0.1, 0.1, 0.01])


@pytest.mark.parametrize("schedule", [cosine, multistep, onecycle])
def test_endless_training_is_refused_by_those_that_need_its_length(schedule: Callable[..., Any]) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    with pytest.raises(ValueError, match=r"must know how long the training is"):
        schedule(optimizer, Steps(math.inf, 2))
