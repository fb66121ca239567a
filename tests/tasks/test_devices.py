"""A training step on another device than the CPU: all that it needs is there, and it never waits for a value.

The device is a pretended GPU: torch's fake tensors have a device, a type and a shape, and refuse what a real one would
refuse: two devices in one operation, and a number that Python wants to know before it goes on.
"""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, open_dict
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode, unset_fake_temporarily

from project.data.loader import EpochLoader
from project.runs.building import build_data, build_task
from tests.composing import compose_config
from tests.runs.text import tiny_text

GPU = torch.device("cuda", 0)
IMAGES = ("data=shapes", "data.train_images=64", "data.test_images=16", "data.batch_size=16", "data.eval_batch_size=8")
TARGETS = ("net=convnet", "data.train_images=60", "data.test_images=20", "data.batch_size=16")
KINDS: dict[str, Callable[[Path], DictConfig]] = {
    "classifier": lambda _: compose_config("model=convnet", *IMAGES, "data.cutout=4", "data.color=0.1"),
    "classifier of several views": lambda _: compose_config(
        "model=airbench", *IMAGES, "data.flip=alternating", "data.padding=reflect", "model.test_time=flip_and_shift"
    ),
    "orthogonal steps": lambda _: compose_config("model=airbench", *IMAGES, "optimizer=muon"),
    "residual": lambda _: compose_config("model=resnet", *IMAGES),
    "autoencoder": lambda _: compose_config("model=autoencoder_conv", *IMAGES),
    "key points": lambda _: compose_config("model=key_points", "data=shape_corners", *TARGETS),
    "masks": lambda _: compose_config("model=segmenter", "data=shape_masks", *TARGETS),
    "language model": lambda folder: tiny_text(folder, "model=mut1"),  # torch's own cells want a driver
}


def moved(module: nn.Module, mode: FakeTensorMode) -> None:
    """Parameters and buffers of `module` to the pretended GPU; `Module.to` cannot do that with fake tensors."""
    found: dict[int, Tensor] = {}

    def there(tensor: Tensor) -> Tensor:
        if id(tensor) not in found:
            fake = mode.from_tensor(tensor.detach()).to(GPU)
            is_parameter = isinstance(tensor, nn.Parameter)
            found[id(tensor)] = nn.Parameter(fake, tensor.requires_grad) if is_parameter else fake
        return found[id(tensor)]

    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, tensor in tensors.items():
                tensors[name] = None if tensor is None else there(tensor)  # type: ignore[assignment]


def on_gpu(kind: str, folder: Path) -> tuple[Any, Any, FakeTensorMode]:
    cfg = KINDS[kind](folder)
    data = build_data(cfg)
    with open_dict(cfg):
        cfg.sizes = data.sizes
    task = build_task(cfg)
    strategy = SimpleNamespace(root_device=GPU)
    data.trainer = SimpleNamespace(strategy=strategy, global_rank=0, world_size=1)  # type: ignore[assignment]
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        moved(task, mode)
    return data, task, mode


@pytest.fixture(autouse=True)
def _real_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which samples stand in a batch is decided on the CPU, with real numbers; nothing is pinned without a driver."""
    order = EpochLoader.order

    def real(self: EpochLoader, epoch: int) -> Tensor:
        with unset_fake_temporarily():
            return order(self, epoch)

    monkeypatch.setattr(EpochLoader, "order", real)
    monkeypatch.setattr(Tensor, "pin_memory", lambda self, *_: self)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_stays_on_its_device_and_waits_for_nothing(kind: str, tmp_path: Path) -> None:
    data, task, mode = on_gpu(kind, tmp_path)
    with mode:
        batch = next(iter(data.train_dataloader()))
        assert {part.device for part in batch} == {GPU}
        optimizer = task.train().make_optimizer()
        loss, totals, _ = task.measure(batch, "train")
        assert {loss.device, *(total.device for total in totals)} == {GPU}
        for parameter in task.parameters():  # the backward pass wants a driver
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "language model"])
def test_a_validation_stays_on_its_device(kind: str, tmp_path: Path) -> None:
    data, task, mode = on_gpu(kind, tmp_path)
    task.eval()
    with mode, torch.no_grad():
        loss, totals, _ = task.measure(next(iter(data.val_dataloader())), "val")
    assert {loss.device, *(total.device for total in totals)} == {GPU}


def test_two_devices_and_waiting_are_found(tmp_path: Path) -> None:
    data, task, mode = on_gpu("classifier", tmp_path)
    with mode:
        images, labels = next(iter(data.train_dataloader()))
        with pytest.raises(RuntimeError, match="at least two devices, cuda:0 and cpu"):
            task.measure((images, labels.cpu()), "train")
        with pytest.raises(DataDependentOutputException):
            task.measure((images, labels), "train")[0].item()
