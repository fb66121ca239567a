"""Precision, memory layout and compilation are chosen for the machine, and change nothing else."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy, Strategy
from omegaconf import DictConfig, OmegaConf
from torch import nn

from project.errors import UserError
from project.nets.recorded import Recorded
from project.runs import compilation, speed
from project.runs.checks import GRAPHS
from project.runs.compilation import Compiled, compile_net
from project.runs.resuming import resumed_config
from project.runs.speed import lay_out, settle_precision
from project.train import train

SHORT = ("data=shapes", "data.train_images=64", "data.test_images=16", "data.batch_size=16", "trainer.max_epochs=1")
NET = ("model=convnet", "model.net.channels=[4]", "model.net.hidden=[8]", "trainer.accelerator=cpu")


@pytest.mark.parametrize(
    ("has_it", "said"),
    [
        (True, "precision: bf16-mixed, channels_last (this processor computes in bfloat16)"),
        (False, "precision: 32-true, channels_last (this processor has no fast bfloat16)"),
    ],
)
def test_auto_is_what_the_machine_computes_by_itself(has_it: bool, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "has_bf16", lambda device: has_it)
    cfg = OmegaConf.create(
        {"trainer": {"precision": "auto", "accelerator": "cpu"}, "sizes": {"image_shape": [3, 8, 8]}}
    )
    assert settle_precision(cfg) == (torch.device("cpu"), said)
    assert cfg.trainer.precision in said


def test_what_was_chosen_stays() -> None:
    cfg = OmegaConf.create({"trainer": {"precision": "64-true", "accelerator": "tpu"}})
    assert settle_precision(cfg)[1] == ""
    assert cfg.trainer.precision == "64-true"


def test_a_run_keeps_the_precision_that_was_chosen_for_it(
    composed: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "has_bf16", lambda device: True)
    train(composed(*NET, *SHORT, f"folder={tmp_path / 'run'}"))
    assert OmegaConf.load(tmp_path / "run" / "config.yaml").trainer.precision == "bf16-mixed"


@pytest.mark.parametrize("channels_last", [True, False])
def test_images_reach_the_network_in_the_layout(channels_last: bool) -> None:
    class Look(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen = x.is_contiguous(memory_format=torch.channels_last)
            return super().forward(x)

    net = Look(3, 4, 3)
    before = net.weight.detach().clone()
    lay_out(net, channels_last)
    images = torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    net(images)
    assert net.seen is channels_last
    assert net.weight.is_contiguous(memory_format=torch.channels_last) is channels_last
    assert torch.equal(net.weight, before)


@pytest.mark.slow
def test_both_layouts_learn_the_same(composed: Callable[..., DictConfig], tmp_path: Path) -> None:
    values = [
        train(composed(*NET, *SHORT, "monitor=val/loss", f"channels_last={last}", f"folder={tmp_path / last}"))
        for last in ("true", "false")
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-4)


def test_only_training_is_compiled_and_parameters_keep_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def compile(function: Callable[..., torch.Tensor], dynamic: bool) -> Callable[..., torch.Tensor]:
        def run(*inputs: torch.Tensor) -> torch.Tensor:
            ran.append("compiled")
            return function(*inputs)

        return run

    monkeypatch.setattr(torch, "compile", compile)
    net, x = nn.Linear(2, 2), torch.ones(1, 2)
    names = list(net.state_dict())
    expected = net(x)
    compile_net(net)
    assert list(net.state_dict()) == names
    assert torch.equal(net.train()(x), expected)
    assert torch.equal(net.eval()(x), expected)
    with torch.no_grad():
        net.train()(x)
    assert ran == ["compiled"]


@pytest.mark.slow
@pytest.mark.parametrize(("how", "kind"), [(True, Compiled), (GRAPHS, Recorded)])
def test_a_copy_has_a_compiled_network_of_its_own(how: bool | str, kind: type) -> None:
    net = nn.Linear(2, 2)
    compile_net(net, how)
    twin = copy.deepcopy(net)
    assert isinstance(twin.forward, kind)
    assert twin.forward.net is twin  # type: ignore[attr-defined]
    assert torch.equal(twin.eval()(torch.ones(1, 2)), net.eval()(torch.ones(1, 2)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("compile=fast",), "compile must be true, false, auto or cuda_graphs, got fast"),
        (
            ("compile=true", "model=lstm", "data=text", "model.net.hidden_size=4", "data.batch_size=2"),
            "choose model.net.kernel=compiled",
        ),
        (("compile=cuda_graphs",), "is for a training on one GPU, and its device is cpu"),
    ],
)
def test_mistakes_are_told(
    composed: Callable[..., DictConfig], tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    data = [f"data.path={tmp_path / 'a.txt'}", f"data.cache_folder={tmp_path}"] if "data=text" in words else SHORT
    (tmp_path / "a.txt").write_text("abcd" * 500)
    base = () if "data=text" in words else NET
    with pytest.raises(UserError, match=message):
        train(composed(*base, *words, *data, "trainer.accelerator=cpu", f"folder={tmp_path / 'run'}"))
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.parametrize(
    ("device", "strategy", "reason"),
    [
        ("cuda", SingleDeviceStrategy(), ""),
        ("cpu", SingleDeviceStrategy(), "its device is cpu"),
        ("cuda", DDPStrategy(), "the strategy of this one is DDPStrategy"),
    ],
    ids=["one GPU", "a CPU", "several GPUs"],
)
def test_cuda_graphs_are_for_one_gpu(device: str, strategy: Strategy, reason: str) -> None:
    found = compilation._no_graphs(torch.device(device), strategy)
    assert reason in found
    assert bool(found) == bool(reason)


@pytest.mark.slow
def test_a_run_with_cuda_graphs_goes_on_where_there_is_no_gpu(
    composed: Callable[..., DictConfig], tmp_path: Path
) -> None:
    train(composed(*NET, *SHORT, "trainer.max_epochs=1", f"folder={tmp_path / 'run'}"))
    kept = OmegaConf.load(tmp_path / "run" / "config.yaml")
    kept.compile = GRAPHS  # as a GPU leaves it
    OmegaConf.save(kept, tmp_path / "run" / "config.yaml")
    train(resumed_config(str(tmp_path / "run"), ["trainer.max_epochs=2"], "outputs"))
    said = (tmp_path / "run" / "train.log").read_text()
    assert "compile=cuda_graphs is for a training on one GPU" in said
    assert OmegaConf.load(tmp_path / "run" / "config.yaml").compile is False


@pytest.mark.slow
def test_a_compiled_training_comes_to_the_same(composed: Callable[..., DictConfig], tmp_path: Path) -> None:
    values = [
        train(composed(*NET, *SHORT, "monitor=val/loss", f"compile={how}", f"folder={tmp_path / how}"))
        for how in ("false", "true", "auto")
    ]
    assert values == pytest.approx([values[0]] * 3, rel=1e-3)
    kept = [OmegaConf.load(tmp_path / how / "config.yaml").compile for how in ("false", "true", "auto")]
    assert kept == [False, True, False]  # auto: a short training


@pytest.mark.slow
def test_auto_compiles_where_it_pays(
    composed: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured times stand in for a long training: with the compiler's cost, a gain, and none."""
    for compiled, pays in ((0.5, True), (0.99, False)):
        monkeypatch.setattr(compilation, "WORTH_MEASURING", {True: 0.0})
        monkeypatch.setattr(torch, "compile", lambda function, dynamic: function)
        monkeypatch.setattr(compilation.Steps, "__call__", lambda self, batch: 0.1)
        found = iter([1.0, compiled])
        monkeypatch.setattr(compilation.Steps, "median", lambda self, batch, found=found: next(found))
        folder = tmp_path / str(pays)
        train(composed(*NET, *SHORT, "compile=auto", f"folder={folder}"))
        assert OmegaConf.load(folder / "config.yaml").compile is pays
