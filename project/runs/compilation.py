"""Whether and how a network is compiled for its training: by torch's compiler, or as recorded CUDA graphs."""

import copy
import gc
import logging
import math
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.strategies import SingleDeviceStrategy, Strategy
from omegaconf import DictConfig
from torch import nn

from project.data.module import DataModule
from project.errors import UserError
from project.nets.recorded import Recorded
from project.nets.recurrent import Recurrent
from project.runs.checks import GRAPHS, check_compilation
from project.tasks.task import Task

log = logging.getLogger(__name__)

Compilation = bool | str  # what `compile` can be, but auto
# seconds of a training; a shorter one is over before a compiler, or the recording of graphs, has paid
WORTH_MEASURING: dict[Compilation, float] = {True: 120.0, GRAPHS: 10.0}
WORTH_IT = 1.05  # a compiled step that is not faster by so much is not worth what a compiler can get wrong


class Compiled:
    """A network's `forward`, compiled for training; validation, whose batches have other sizes, runs it as written."""

    def __init__(self, net: nn.Module) -> None:
        self.net, self.written = net, net.forward
        self.compiled = torch.compile(net.forward, dynamic=False)

    def __call__(self, *inputs: Any) -> Any:
        if self.net.training and torch.is_grad_enabled():
            return self.compiled(*inputs)
        return self.written(*inputs)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Compiled":
        return Compiled(copy.deepcopy(self.net, memo))


def compile_net(net: nn.Module, how: Compilation = True) -> None:
    """Compile `net` for training, in place; its parameters keep their names.

    Args:
        net: as it was built.
        how: true for torch's compiler, `cuda_graphs` to record its kernels.

    Raises:
        UserError: it has recurrent layers, which are compiled by themselves.
    """
    if how and is_recurrent(net):
        said = str(how).lower()
        raise UserError(f"compile={said} is for networks without recurrent layers: choose model.net.kernel=compiled")
    if how:
        net.forward = Recorded(net) if how == GRAPHS else Compiled(net)  # type: ignore[method-assign]


def settle_compilation(cfg: DictConfig, task: Task, data: DataModule, device: torch.device, strategy: Strategy) -> None:
    """Compile the network if `cfg.compile` says so; `auto` is replaced in `cfg` by what measuring showed.

    Args:
        cfg: of the run.
        task: not yet attached to a Trainer.
        data: set up.
        device: on which it will be trained.
        strategy: the Trainer's.

    Raises:
        UserError: `compile` is no choice of it, or it cannot be done with this network here.
    """
    compilation = cfg.get("compile", False)  # runs of before have no such choice
    check_compilation(compilation)
    if compilation == GRAPHS and (reason := _no_graphs(device, strategy)):
        if cfg.get("resume") is None:
            raise UserError(f"compile={GRAPHS} is for {reason}: choose compile=auto")
        log.warning("compile=%s is for %s: the run goes on without", GRAPHS, reason)
        compilation = cfg.compile = False
    if compilation == "auto" and device.type == "cuda" and "fork" in str(cfg.trainer.get("strategy")):
        compilation = cfg.compile = False  # to measure would use the GPU, from which no process could be forked then
    if compilation == "auto":
        compilation = cfg.compile = _best(cfg, task, data, device, strategy)
    elif compilation:
        try:
            probe = Steps.of(task, cfg.trainer.precision, device, compilation)
            probe(first_batch(data, device))
        except UserError:
            raise
        except Exception as error:  # what a compiler can raise shares no base
            raise UserError(
                f"compile={str(compilation).lower()}: this network cannot be compiled here ({_line(error)}): "
                "compile=false"
            ) from error
        del probe
        forget_copies(device)
    compile_net(task.net, compilation)


def _best(cfg: DictConfig, task: Task, data: DataModule, device: torch.device, strategy: Strategy) -> Compilation:
    """What makes the training shorter, measured: nothing, CUDA graphs, torch's compiler."""
    if is_recurrent(task.net):
        return False
    steps = _planned(cfg.trainer, len(data.train_dataloader()))
    batch = first_batch(data, device)
    plain = Steps.of(task, cfg.trainer.precision, device).median(batch)
    tried: list[Compilation] = [] if _no_graphs(device, strategy) else [GRAPHS]
    tried = [how for how in (*tried, True) if plain * steps >= WORTH_MEASURING[how]]
    if not tried:
        log.info("compile: no, the training is short (about %.0f s)", plain * steps)
    best: Compilation = False
    shortest = plain * steps
    for how in tried:
        name = "compile" if how is True else f"compile={how}"
        try:
            compiled = Steps.of(task, cfg.trainer.precision, device, how)
            cost = compiled(batch)
            seconds = compiled.median(batch)
        except Exception as error:  # what a compiler can raise shares no base
            log.info("%s: no, it cannot be compiled here (%s)", name, _line(error))
            continue
        pays = plain / seconds > WORTH_IT and seconds * steps + cost < shortest
        del compiled
        forget_copies(device)
        said = f"{1e3 * seconds:.3g} ms a step, {1e3 * plain:.3g} ms uncompiled, {cost:.0f} s to compile"
        said += "" if plain / seconds > WORTH_IT else f"; a gain of less than {WORTH_IT - 1:.0%} is left"
        log.info("%s: %s (%s)", name, "yes" if pays else "no", said)
        if pays:
            best, shortest = how, seconds * steps + cost
    return best


def _no_graphs(device: torch.device, strategy: Strategy) -> str:
    """Why CUDA graphs cannot be had in this training; empty: they can."""
    if device.type != "cuda":
        return f"a training on one GPU, and its device is {device.type}"
    if not isinstance(strategy, SingleDeviceStrategy):
        return f"a training on one GPU, and the strategy of this one is {type(strategy).__name__}"
    return ""


def forget_copies(device: torch.device) -> None:
    """Give back the memory of networks that were tried: a compiled one and its `forward` hold each other."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _planned(trainer: DictConfig, batches: int) -> float:
    """Training batches of the whole run, as far as its limits tell."""
    limit = trainer.limit_train_batches
    per_epoch = min(batches, limit) if isinstance(limit, int) and limit > 1 else max(1, int(batches * min(1.0, limit)))
    found = math.inf if trainer.max_epochs in (None, -1) else per_epoch * trainer.max_epochs
    steps = trainer.max_steps * trainer.accumulate_grad_batches
    return min(found, steps) if steps > 0 else found


@dataclass
class Steps:
    """Training steps of a copy of a task without a Trainer around them: what they train is thrown away."""

    task: Task
    optimizer: torch.optim.Optimizer
    precision: str
    device: torch.device

    @classmethod
    def of(cls, task: Task, precision: Any, device: torch.device, compiled: Compilation = False) -> "Steps":
        """Steps of a copy.

        Raises:
            UserError: the network has recurrent layers and is to be compiled.
        """
        own = copy.deepcopy(task).to(device).train()
        compile_net(own.net, compiled)
        return cls(own, own.make_optimizer(), str(precision), device)

    def __call__(self, batch: Any) -> float:
        """Forward, backward and the optimizer's step; seconds, to their end on the device."""
        start = time.perf_counter()
        with self._autocast():
            loss, _, _ = self.task.measure(batch, "train")
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - start

    def median(self, batch: Any, repeats: int = 5) -> float:
        """Seconds of a step, the median of several after a warm-up."""
        self(batch)
        return median(self(batch) for _ in range(repeats))

    def _autocast(self) -> AbstractContextManager[Any]:
        types = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
        if self.precision not in types:
            return nullcontext()
        return torch.autocast(self.device.type, types[self.precision])


def first_batch(data: DataModule, device: torch.device) -> Any:
    """The first of the training, on the device."""
    return move_data_to_device(next(iter(data.train_dataloader())), device)


def is_recurrent(net: nn.Module) -> bool:
    """Whether its layers are compiled by `model.net.kernel` instead."""
    return any(isinstance(part, Recurrent) for part in net.modules())


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
