"""What only a GPU can show: left out where there is none."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from torch import Tensor, nn

from project.benchmark import ON_DEVICE
from project.runs.building import build
from project.runs.checks import GRAPHS
from project.runs.compilation import compile_net
from tests.commands import ROOT
from tests.conftest import choices
from tests.runs.test_resume import SMALL, assert_same, outcome
from tests.test_configs import at, short

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")]
Compose = Callable[..., DictConfig]
ON_GPU = ("trainer.accelerator=gpu", "trainer.deterministic=true")


def run(*words: str, module: str = "project.train") -> subprocess.CompletedProcess[str]:
    """`python -m project.train`, in an interpreter of its own: what has used a GPU cannot be forked."""
    command = [sys.executable, "-m", module, *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)


@pytest.mark.parametrize("name", choices("model"))
def test_every_model_trains(composed: Compose, tmp_path: Path, name: str) -> None:
    task, words = short(composed, f"model={name}")
    done = run(f"model={name}", *words, *at(tmp_path, task), "trainer.accelerator=gpu")
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert any(key.startswith("test/") for key in metrics)
    assert "cuda:0" in done.stdout + done.stderr


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)


def trained(net: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> nn.Module:
    """After a step of SGD on each batch in bfloat16, with a validation between them."""
    optimizer = torch.optim.SGD([part for part in net.parameters() if part.requires_grad], lr=0.01, momentum=0.9)
    for step, (images, labels) in enumerate(batches):
        torch.cuda.manual_seed(step)
        with torch.autocast("cuda", torch.bfloat16):
            loss = F.cross_entropy(net.train()(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            net.eval()(images[:1])
    return net


@pytest.mark.parametrize("name", ["mlp", "convnet", "resnet", "resnet18", "vgg", "airbench"])
def test_a_recorded_network_learns_what_the_same_one_does_as_written(composed: Compose, exact: None, name: str) -> None:
    cfg = composed(f"model={name}", "data=shapes")
    cfg.sizes = {"num_classes": 10, "image_shape": [3, 32, 32]}
    torch.manual_seed(0)
    net = build(cfg.model.net).cuda()
    pictures = torch.randn(5, 16, 3, 32, 32, device="cuda")
    batches = [(images, torch.randint(0, 10, (16,), device="cuda")) for images in pictures]
    batches.append((pictures[0, :4], batches[0][1][:4]))  # of another shape
    recorded = copy.deepcopy(net)
    compile_net(recorded, GRAPHS)
    before = copy.deepcopy(batches)
    expected = trained(net, batches).state_dict()
    found = trained(recorded, batches).state_dict()
    assert torch.equal(batches[0][0], before[0][0])  # what is given is not written to
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


def test_a_training_with_cuda_graphs_comes_to_the_same(tmp_path: Path) -> None:
    for how in ("false", GRAPHS):
        done = run(*SMALL, *ON_GPU, f"compile={how}", f"folder={tmp_path / how}")
        assert done.returncode == 0, done.stdout + done.stderr
    assert_same(outcome(tmp_path / "false"), outcome(tmp_path / GRAPHS))


def test_gradients_of_several_batches_are_added_up(tmp_path: Path) -> None:
    for how in ("false", GRAPHS):
        words = (*SMALL, *ON_GPU, "trainer.accumulate_grad_batches=2", f"compile={how}", f"folder={tmp_path / how}")
        done = run(*words)
        assert done.returncode == 0, done.stdout + done.stderr
    assert_same(outcome(tmp_path / "false"), outcome(tmp_path / GRAPHS))


@pytest.mark.parametrize("how", ["false", GRAPHS])
@pytest.mark.parametrize("step", [4, 7])
def test_a_killed_run_goes_on(tmp_path: Path, how: str, step: int) -> None:
    words = (*SMALL, *ON_GPU, f"compile={how}")
    assert run(*words, f"folder={tmp_path / 'never'}").returncode == 0
    kill = f"+callbacks.kill={{_target_:tests.runs.parts.SignalAt,step:{step}}}"
    assert run(*words, f"folder={tmp_path / 'killed'}", kill).returncode == -9
    resumed = run(f"resume={tmp_path / 'killed'}", "~callbacks.kill")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert_same(outcome(tmp_path / "killed"), outcome(tmp_path / "never"))


@pytest.mark.parametrize("name", ON_DEVICE)
def test_benchmarks_measure_it(name: str) -> None:
    done = run(name, "--quick", module="project.benchmark")
    assert done.returncode == 0, done.stdout + done.stderr
    assert torch.cuda.get_device_name() in done.stdout
