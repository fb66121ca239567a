"""Sums and means, by hand."""

import torch
from torch import Tensor

from project.tasks.meters import Meter


def same(values: Tensor) -> Tensor:
    return values


def of(*values: float) -> list[Tensor]:
    return [torch.tensor(value) for value in values]


def test_means_are_weighted_by_samples() -> None:
    meter = Meter(("loss", "accuracy"))
    meter.add(of(6.0, 2.0), 3)
    meter.add(of(1.0, 0.0), 1)
    assert meter.read_epoch(same) == {"loss": 7 / 4, "accuracy": 2 / 4}
    assert meter.read_epoch(same) == {}


def test_an_interval_is_read_without_losing_the_epoch() -> None:
    meter = Meter(("loss",))
    meter.add(of(4.0), 2)
    assert meter.read_interval(same) == {"loss": 2.0}
    assert meter.read_interval(same) == {}
    meter.add(of(9.0), 3)
    assert meter.read_interval(same) == {"loss": 3.0}
    meter.add(of(1.0), 1)
    assert meter.read_epoch(same) == {"loss": 14 / 6}


def test_ranks_are_summed_before_dividing() -> None:
    meter = Meter(("loss",))
    meter.add(of(4.0), 2)
    other = torch.tensor([5.0, 1.0], dtype=torch.float64)  # another rank's sum and count
    assert meter.read_epoch(lambda values: values + other) == {"loss": 9 / 3}


def test_state_goes_on_where_it_was() -> None:
    meter, resumed, second = Meter(("loss",)), Meter(("loss",)), Meter(("loss",))
    meter.add(of(4.0), 2)
    meter.read_interval(same)
    meter.add(of(1.0), 1)
    state = meter.state_dict(same)
    resumed.load_state_dict(state, torch.device("cpu"), first_rank=True)
    second.load_state_dict(state, torch.device("cpu"), first_rank=False)
    assert resumed.read_interval(same) == {"loss": 1.0}
    assert resumed.read_epoch(same) == {"loss": 5 / 3}
    assert second.interval is not None  # takes part in the ranks' sums, with nothing
    assert second.read_epoch(same) == {}


def test_a_million_samples_are_counted_exactly() -> None:
    meter = Meter(("accuracy",))
    for _ in range(1000):
        meter.add(of(999.0), 16_777_217 // 1000)  # float32 counts to 16,777,216 only
    meter.add(of(1.0), 17_217)
    assert meter.read_epoch(same) == {"accuracy": 999_001 / (16_777 * 1000 + 17_217)}


def test_the_bits_do_not_depend_on_when_it_was_looked_at() -> None:
    values = torch.rand(700, generator=torch.Generator().manual_seed(0))
    sums = []
    for looks in ([], [3], [100, 101, 699]):
        meter = Meter(("loss",))
        for step, value in enumerate(values):
            meter.add([value], 1)
            if step in looks:
                meter.state_dict(same)  # as a checkpoint does
        sums.append(meter.read_epoch(same)["loss"])
    expected = 0.0
    for value in values.tolist():
        expected += value
    assert sums == [expected / 700] * 3


def test_measures_of_other_types_and_their_graphs_are_let_go() -> None:
    meter, weight = Meter(("loss", "hits")), torch.ones(1, requires_grad=True)
    meter.add([(2 * weight).sum(), torch.tensor(3)], 4)
    assert meter.read_epoch(same) == {"loss": 0.5, "hits": 0.75}
