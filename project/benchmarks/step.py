"""What the framework costs a training step, and what this machine's precision and memory layout gain."""

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, open_dict
from torch import Tensor, nn

from project.benchmarks.measuring import Figure, in_turn
from project.benchmarks.references import Bare, ByLightning, Kind, Net, Watch
from project.data.loader import ImageLoader
from project.runs.building import build
from project.runs.checks import GRAPHS
from project.runs.command import CONF
from project.runs.compilation import Compilation, compile_net
from project.runs.hydra_versions import DEFAULTS
from project.runs.lean import spare_idle_hooks, without_gpus
from project.runs.quiet import quiet
from project.runs.speed import keep_buffers, lay_out, settle_precision
from project.runs.training import build_trainer

BATCH = 128
SIZES = {"num_classes": 10, "image_shape": [3, 32, 32]}
NETWORKS = ("resnet", "resnet18", "vgg", "alexnet")
FASTER = {"cpu": 1, "cuda": 100}  # so many times as many steps, for measurements of some tenths of a second
WITH_GRAPHS = f" with compile={GRAPHS}"
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)

Batches = Sequence[tuple[Tensor, Tensor]]


class Costless(nn.Module):
    """Ten numbers for logits, whatever the image: what remains of a step is the framework's."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(1, 10))

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), -1)


def steps(repeats: int, count: int = 400, device: str = "cpu") -> list[Figure]:
    """A step of `model=convnet` and one of a network that costs nothing, against a bare PyTorch loop and Lightning.

    Args:
        repeats: measurements of each side.
        count: steps of a measurement; of the network that costs nothing, four times as many.
        device: cpu or cuda, for all sides; the batches lie there.
    """
    words = ("model=convnet", "trainer.precision=32-true")
    many, few = Repeated(_batches(40, device), count), Repeated(_batches(4, device, size=1), 4 * count)
    convnet = _compared(words, net_of, many, repeats, device, peers=("usual",))
    nothing = _compared(words, lambda cfg: Costless(), few, repeats, device, peers=("usual", "lean"))
    what = f"training step of model=convnet, batch {BATCH}, against"
    found = [
        Figure(f"{what} a bare loop", "ms", *_scaled(convnet, 1e3), "<= 1.06"),
        Figure(f"{what} Lightning as usually configured", "ms", *_scaled(convnet, 1e3, "usual")),
        Figure("the same with a network that costs nothing", "us", *_scaled(nothing, 1e6), "<= 300", by="difference"),
    ]
    for peer, name in (("usual", "Lightning as usually configured"), ("lean", "Lightning without metrics and logger")):
        ours, theirs = _above_bare(nothing, "ours"), _above_bare(nothing, peer)
        found.append(Figure(f"what that is above the bare loop, against {name}", "us", ours, theirs))
    return found


def networks(repeats: int, count: int = 3, names: Sequence[str] = NETWORKS, device: str = "cpu") -> list[Figure]:
    """Training as `trainer.precision=auto` and `channels_last` choose it, against PyTorch's float32, channels first.

    Args:
        repeats: measurements of each side.
        count: steps of a measurement, on a GPU 100 times as many.
        names: models.
        device: cpu or cuda.
    """
    figures, count, graphs = [], count * FASTER[device], device == "cuda"
    for name in names:
        batches = Repeated(_batches(2, device), count)
        times = _compared((f"model={name}",), net_of, batches, repeats, device, plain=True, graphs=graphs)
        rates = {side: [BATCH / seconds for seconds in found] for side, found in times.items()}
        for side, how in (("ours", ""), ("graphs", WITH_GRAPHS)):
            if side in rates:
                what = f"training of model={name}{how}, batch {BATCH}"
                figures.append(Figure(what, "images/s", rates[side], rates["bare"], ">= 1.6"))
    return figures


def recipe(repeats: int, count: int = 3, words: Sequence[str] = (), device: str = "cpu") -> list[Figure]:
    """Steps of `experiment=cifar10_fast`, with the making of their batches, against a bare loop over the same loader.

    The bare loop has no lookahead, which costs ours a copy of the weights every fifth step.

    Args:
        repeats: measurements of each side.
        count: steps of a measurement, on a GPU 100 times as many.
        words: more of the command line.
        device: cpu or cuda.
    """
    words, count = ("experiment=cifar10_fast", *words), count * FASTER[device]
    cfg = composed(*words)
    size = int(cfg.data.batch_size)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count * size, 32, 32, 3), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (count * size,), generator=generator)
    options = {"shift": cfg.data.shift, "flip": cfg.data.flip, "padding": cfg.data.padding, "device": device}
    loader: Any = ImageLoader(pixels, labels, size, mean=MEAN, std=STD, train=True, **options)
    times = _compared(words, net_of, loader, repeats, device, graphs=device == "cuda")
    named = f"training step of experiment=cifar10_fast, batch {size}, with its input"
    found = [Figure(f"{named}, against a bare loop", "ms", *_scaled(times, 1e3), "<= 1.05")]
    if "graphs" in times:
        graphs = {"ours": times["graphs"], "bare": times["bare"]}
        found.append(Figure(f"the same{WITH_GRAPHS}", "ms", *_scaled(graphs, 1e3), "<= 1.05"))
    return found


def _compared(
    words: Sequence[str],
    net: Net,
    batches: Any,
    repeats: int,
    device: str,
    plain: bool = False,
    peers: Sequence[Kind] = (),
    graphs: bool = False,
) -> dict[str, list[float]]:
    """Seconds of a step, of ours, of the bare loop and of each of `peers` in turn.

    Args:
        batches: on the device.
        device: cpu or cuda.
        plain: the bare loop is what PyTorch does by itself: float32, channels first, glibc's usual handling of memory;
            otherwise it is computed as ours.
        graphs: ours is measured with CUDA graphs, too.
    """
    with tempfile.TemporaryDirectory(prefix="steps-") as folder:
        cfg = composed(*words, f"folder={folder}", device=device)
        settle_precision(cfg)
        ours, bare = Ours(cfg, net, batches), Bare(cfg, net, batches, plain, device)
        sides: dict[str, Callable[[], Any]] = {"ours": ours, "bare": bare}
        if graphs:
            sides["graphs"] = Ours(cfg, net, batches, GRAPHS)
        sides |= {peer: ByLightning(cfg, net, batches, peer, device) for peer in peers}
        return in_turn(sides, repeats, seconds=lambda side: side() / len(batches))


def _scaled(times: dict[str, list[float]], scale: float, other: str = "bare") -> tuple[list[float], list[float]]:
    ours, theirs = ([scale * value for value in times[name]] for name in ("ours", other))
    return ours, theirs


def _above_bare(times: dict[str, list[float]], name: str) -> list[float]:
    return [1e6 * (value - bare) for value, bare in zip(times[name], times["bare"], strict=True)]


def net_of(cfg: DictConfig) -> nn.Module:
    """The network that the config describes."""
    net: nn.Module = build(cfg.model.net)
    return net


def composed(
    *words: str, device: str = "cpu", data: str = "shapes", sizes: Mapping[str, Any] = MappingProxyType(SIZES)
) -> DictConfig:
    """The config of a training with these words on its command line, for images of CIFAR's size.

    Args:
        words: of the command line.
        device: cpu or cuda.
        data: the data set that it names.
        sizes: what the network is to know of the data.
    """
    with initialize_config_dir(str(CONF), **DEFAULTS):
        cfg = compose("train", overrides=[f"trainer.accelerator={device}", f"data={data}", *words])
    with open_dict(cfg):
        cfg.sizes = dict(sizes)
    return cfg


def _batches(count: int, device: str, size: int = 32) -> Batches:
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(BATCH, 3, size, size, generator=generator) for _ in range(count)]
    return [
        (
            part.contiguous(memory_format=torch.channels_last).to(device),
            torch.randint(0, 10, (BATCH,), generator=generator).to(device),
        )
        for part in images
    ]


@dataclass
class Ours:
    """A run's own Trainer, task, logger and callbacks as `conf/` has them."""

    cfg: DictConfig
    net: Net
    batches: Any
    compile: Compilation = False

    def __call__(self) -> float:
        if self.cfg.trainer.accelerator != "cpu":
            return self._run()
        keep_buffers()
        before = os.environ.get("CUDA_VISIBLE_DEVICES")
        without_gpus()
        try:
            return self._run()
        finally:
            if before is None:
                os.environ.pop("CUDA_VISIBLE_DEVICES", None)

    def _run(self) -> float:
        watch, cfg = Watch(), self.cfg.copy()
        cfg.trainer.max_epochs = 1
        cfg.trainer.limit_val_batches = 0
        task = build(cfg.model, net=None, optimizer=build(cfg.optimizer), scheduler=build(cfg.scheduler))
        task.net = self.net(cfg)
        lay_out(task.net, cfg.channels_last)
        compile_net(task.net, self.compile)
        with quiet(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*Skipping val loop.*")
            trainer = build_trainer(cfg, None, [watch])
            spare_idle_hooks(trainer, task)
            trainer.fit(task, train_dataloaders=self.batches)
        for logger in trainer.loggers:
            logger.close()  # type: ignore[attr-defined]
        return watch.seconds


class Repeated:
    """The batches over and over, `count` in all."""

    def __init__(self, batches: Batches, count: int) -> None:
        self.batches, self.count = batches, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return (self.batches[step % len(self.batches)] for step in range(self.count))
