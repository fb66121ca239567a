"""Which precision, memory layout, batch size and compilation train a model fastest on this machine."""

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
from lightning import seed_everything
from lightning.fabric.utilities import move_data_to_device
from omegaconf import DictConfig, open_dict

from project.data.module import DataModule
from project.errors import UserError
from project.runs.building import build_data, build_task
from project.runs.checks import GRAPHS
from project.runs.compilation import Compilation, Steps, forget_copies, is_recurrent
from project.runs.folder import told
from project.runs.provenance import hardware
from project.runs.quiet import quiet
from project.runs.speed import lay_out, settle_precision
from project.runs.tables import table

log = logging.getLogger(__name__)

WARM_UP = 2  # steps before a measurement
STEPS = 5  # of a measurement, at least; their median counts
SECONDS = 1.0  # of a measurement, if that is more
WORTH_IT = 1.03  # what is not faster by so much is left as it is


@dataclass(frozen=True)
class Choice:
    """One way to train."""

    precision: str
    channels_last: bool
    batch_size: int
    compile: Compilation = False

    def words(self) -> list[str]:
        """What chooses it on the command line."""
        return [
            f"trainer.precision={self.precision}",
            f"channels_last={str(self.channels_last).lower()}",
            f"data.batch_size={self.batch_size}",
            f"compile={str(self.compile).lower()}",
        ]


@dataclass(frozen=True)
class Found:
    """What a choice came to: samples per second with the loading of batches, seconds of a step, or why it failed."""

    choice: Choice
    rate: float = 0.0
    seconds: float = math.nan
    failed: str = ""


def run_tuning(cfg: DictConfig) -> list[str]:
    """Measure, print a table, the fastest way first, and the overrides that choose it.

    Precision and layout are tried together at the config's batch size, then batch sizes with the best of them, then
    compilation with the best of these, as long as `cfg.seconds` last. What would take longer than the rest of them is
    left out; how long a compiler takes is not known before.

    Returns:
        The overrides of the fastest.

    Raises:
        UserError: a mistake in the config, or nothing could be measured.
    """
    _check(cfg)
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    with quiet(), told():
        tuning = _Tuning(cfg)
        begun = time.monotonic()
        for choice in tuning.choices():
            left = cfg.seconds - (time.monotonic() - begun)
            if tuning.found and tuning.expected(choice) > left:
                words = " ".join(choice.words())
                log.info("%s  not tried: %.0f of %s seconds are left", words, max(0.0, left), cfg.seconds)
                continue
            tuning.measure(choice)
    return tuning.tell()


class _Tuning:
    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self.data: DataModule = build_data(cfg)
        with open_dict(cfg):
            cfg.sizes = self.data.sizes
        self.device, precision = settle_precision(cfg)
        self.first = Choice(str(cfg.trainer.precision), bool(cfg.channels_last), int(cfg.data.batch_size))
        self.found: list[Found] = []
        task = build_task(cfg)
        self.recurrent = is_recurrent(task.net)
        counted = sum(parameter.numel() for parameter in task.parameters())
        log.info("%s: %s parameters on %s", cfg.name, f"{counted:,}", self.device)
        if precision:
            log.info(precision)

    @property
    def best(self) -> Found:
        return max(self.found, key=lambda found: found.rate)

    def choices(self) -> Iterator[Choice]:
        """What to try next, given what was found."""
        yield self.first
        for precision in self._precisions():
            for channels_last in (self.first.channels_last,) if self.recurrent else (True, False):
                choice = replace(self.first, precision=precision, channels_last=channels_last)
                if choice != self.first:
                    yield choice
        best = self._sensible()
        sizes = self.cfg.batch_sizes or [self.first.batch_size * factor / 2 for factor in (1, 4, 8)]
        for size in sizes:
            if int(size) >= 1 and int(size) != self.first.batch_size:
                yield replace(best, batch_size=int(size))
        if self.cfg.compiled and not self.recurrent:
            for how in (GRAPHS, True) if self.device.type == "cuda" else (True,):
                yield replace(self._sensible(), compile=how)

    def _sensible(self) -> Choice:
        """The best so far, or the first where that is hardly slower."""
        first = self.found[0]
        return self.best.choice if self.best.rate > WORTH_IT * first.rate else first.choice

    def _precisions(self) -> list[str]:
        if self.device.type == "cuda":
            return ["32-true", "bf16-mixed", "16-mixed"]
        return list(
            dict.fromkeys(["32-true", self.first.precision])
        )  # elsewhere only what the processor computes itself

    def expected(self, choice: Choice) -> float:
        """Seconds that measuring `choice` takes at the first one's speed, without a compiler's work."""
        first = self.found[0]
        step = first.seconds * choice.batch_size / first.choice.batch_size
        return WARM_UP * step + max(SECONDS, STEPS * step)

    def measure(self, choice: Choice) -> None:
        try:
            found = self._measured(choice)
        except UserError as error:
            found = Found(choice, failed=str(error).splitlines()[0])
        except Exception as error:  # out of memory; what a compiler can raise shares no base
            if not choice.compile and not isinstance(error, RuntimeError | OSError | MemoryError):
                raise
            found = Found(choice, failed=" ".join(str(error).split())[:80] or type(error).__name__)
        if not self.found and found.failed:
            raise UserError(f"{' '.join(choice.words())}: {found.failed}")
        self.found.append(found)
        said = found.failed or f"{found.rate:,.0f} {self.data.unit}/s"
        log.info("%s  %s", " ".join(choice.words()), said)

    def _measured(self, choice: Choice) -> Found:
        cfg = self.cfg
        self.data.batch_size = choice.batch_size  # type: ignore[attr-defined]
        self.data.check_batch_size(1)
        seed_everything(cfg.seed, workers=False, verbose=False)
        task = build_task(cfg)
        lay_out(task.net, choice.channels_last)
        steps = Steps.of(task, choice.precision, self.device, choice.compile)
        seconds: list[float] = []
        batches = self._batches()
        next_batch = next(batches)
        for _ in range(WARM_UP):  # and the compiler's work
            steps(next_batch)
        begun = time.monotonic()
        while len(seconds) < STEPS or time.monotonic() - begun < SECONDS:
            start = time.perf_counter()
            steps(next(batches))
            seconds.append(time.perf_counter() - start)
        del steps
        forget_copies(self.device)
        step = median(seconds)
        return Found(choice, self.data.samples_per_batch / step, step)

    def _batches(self) -> Iterator[Any]:
        loader: Any = self.data.train_dataloader()
        epoch = 0
        while True:
            loader.set_epoch(epoch)
            for batch in loader:
                yield move_data_to_device(batch, self.device)
            epoch += 1

    def tell(self) -> list[str]:
        """Print what was found; the overrides of the fastest."""
        first = self.found[0]
        rows = [
            {
                "precision": found.choice.precision,
                "channels_last": str(found.choice.channels_last).lower(),
                "batch_size": str(found.choice.batch_size),
                "compile": str(found.choice.compile).lower(),
                f"{self.data.unit}/s": f"{found.rate:,.0f}" if found.rate else found.failed,
                "ms a step": f"{1e3 * found.seconds:.1f}" if found.rate else "",
                "against now": f"{found.rate / first.rate:.2f}" if found.rate else "",
            }
            for found in sorted(self.found, key=lambda found: -found.rate)
        ]
        machine = hardware()
        words = self._sensible().words()
        where = ", ".join(machine["gpus"]) if self.device.type == "cuda" else machine["processor"]
        print(table(rows))
        print(f"{where}, {machine['cores']} cores, {machine['threads']} threads, torch {torch.__version__}")
        print(f"\n{' '.join(words)}")
        if self._sensible().batch_size != self.first.batch_size:
            print("Another batch size is another training: its learning rate goes with it (Goyal et al. 2017).")
        return words


def _check(cfg: DictConfig) -> None:
    if not isinstance(cfg.seconds, int | float) or isinstance(cfg.seconds, bool) or cfg.seconds <= 0:
        raise UserError(f"seconds must be a number above 0, got {cfg.seconds}")
    for size in cfg.batch_sizes or []:
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise UserError(f"batch_sizes must be whole numbers of at least 1, got {size}")
