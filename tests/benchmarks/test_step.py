"""What a step is compared with does the same arithmetic: otherwise the figures would say nothing."""

from collections.abc import Callable

import pytest
import torch
from omegaconf import DictConfig
from torch import nn

from project.benchmarks.references import Bare, ByLightning
from project.benchmarks.step import Ours, Repeated, _batches, composed, steps
from project.runs.building import build


@pytest.fixture
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], nn.Module]:
    """The network as a side leaves it after three steps from the same beginning."""

    def trained(side: str) -> nn.Module:
        nets: list[nn.Module] = []

        def net(cfg: DictConfig) -> nn.Module:
            torch.manual_seed(0)
            nets.append(build(cfg.model.net))
            return nets[-1]

        words = ("model=convnet", "trainer.precision=32-true", "model.label_smoothing=0.1")
        cfg, batches = composed(*words, f"folder={tmp_path_factory.mktemp(side)}"), Repeated(_batches(2, "cpu"), 3)
        sides: dict[str, Callable[[], Callable[[], float]]] = {
            "ours": lambda: Ours(cfg, net, batches),
            "bare": lambda: Bare(cfg, net, batches, plain=False, device="cpu"),
            "usual": lambda: ByLightning(cfg, net, batches, "usual", "cpu"),
            "lean": lambda: ByLightning(cfg, net, batches, "lean", "cpu"),
        }
        assert sides[side]()() > 0
        [found] = nets
        return found

    return trained


@pytest.mark.parametrize("side", ["ours", "usual", "lean"])
def test_every_side_ends_with_the_weights_of_the_bare_loop(side: str, trained: Callable[[str], nn.Module]) -> None:
    begun = build(composed("model=convnet").model.net)
    expected, found = trained("bare").state_dict(), trained(side).state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0)
    assert any(not torch.equal(value, expected[name]) for name, value in begun.state_dict().items())


def test_a_step_is_shown_beside_the_bare_loop_and_lightning() -> None:
    figures = steps(repeats=2, count=3)
    assert [figure.what.partition(", against ")[2] for figure in figures] == [
        "a bare loop", "Lightning as usually configured", "", "Lightning as usually configured",
        "Lightning without metrics and logger",
    ]  # fmt: skip
    assert all(len(figure.ours) == len(figure.reference) == 2 for figure in figures)
    _, _, nothing, *above = figures
    assert all(figure.ours == pytest.approx(nothing.compared, abs=1e-6) for figure in above)  # microseconds
