"""Speed of recurrent training, against `torch.nn`'s modules and a loop by hand."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from project.nets.cells import GRU, LSTM, MUT1, MUT2, MUT3, RNN
from project.nets.kernels import Kernel, has_bf16
from project.nets.language_model import LanguageModel
from project.nets.recurrent import Recurrent
from project.runs.provenance import hardware
from project.runs.quiet import quiet
from project.runs.tables import table
from project.tasks.language_model import LanguageModelling

STEPS, BATCH, HIDDEN, VOCABULARY = 50, 50, 256, 66
CELLS: dict[str, Callable[..., Any]] = {
    "rnn": RNN, "lstm": LSTM, "gru": GRU, "gru reset=after": partial(GRU, reset="after"),
    "mut1": MUT1, "mut2": MUT2, "mut3": MUT3,
}  # fmt: skip


def recurrent_layers(repeats: int, compiled: Sequence[str] = (), device: str = "cpu") -> str:
    """Forward and backward through one layer of 256 units, 50 sequences of 50 steps; all in turn, `repeats` times.

    Args:
        repeats: measurements of each.
        compiled: cells that are also measured with `kernel=compiled`; compiling takes up to a minute each.
        device: where.

    Returns:
        A table of milliseconds, and of the speed relative to `nn.GRU` in float32: medians of the ratios within a turn.
    """
    inputs = torch.randn(STEPS, BATCH, HIDDEN, device=device)
    nets: dict[str, nn.Module] = {"nn.GRU": nn.GRU(HIDDEN, HIDDEN), "nn.LSTM": nn.LSTM(HIDDEN, HIDDEN)}
    nets |= {name: Recurrent(cell, HIDDEN, HIDDEN) for name, cell in CELLS.items()}
    chosen: Kernel = "compiled"
    nets |= {f"{name} compiled": Recurrent(CELLS[name], HIDDEN, HIDDEN, kernel=chosen) for name in compiled}
    precisions = [torch.float32] + ([torch.bfloat16] if has_bf16(torch.device(device)) else [])
    sides: dict[str, Callable[[], Any]] = {
        f"{name} {str(dtype).removeprefix('torch.')}": partial(_pass, net.to(device), inputs, dtype)
        for dtype in precisions
        for name, net in nets.items()
    }
    times = in_turn(sides, repeats)
    reference = times["nn.GRU float32"]
    rows = [
        {
            "forward and backward": name,
            "ms": f"{1e3 * median(values):.1f}",
            "speed of nn.GRU": f"{median(base / value for base, value in zip(reference, values, strict=True)):.2f}",
        }
        for name, values in times.items()
    ]
    return f"{table(rows)}\n{_conditions(repeats)}"


def training_step(repeats: int, steps: int = 20) -> str:
    """A whole training step of `model=lstm` against the same in a loop by hand with `nn.LSTM`, in turn.

    Args:
        repeats: measurements of each, of `steps` steps.
        steps: optimizer steps of a measurement.

    Returns:
        A table of milliseconds a step, and the median of the ratios.
    """
    ids = torch.randint(0, VOCABULARY, (steps, STEPS + 1, BATCH))
    batches = [(part[:-1], part[1:]) for part in ids]
    ours, by_hand = _Ours(batches), _ByHand(batches)
    times = in_turn({"ours": ours, "by hand": by_hand}, repeats, seconds=lambda side: side() / steps)
    ratios = [mine / other for mine, other in zip(times["ours"], times["by hand"], strict=True)]
    rows = [{"training step": name, "ms": f"{1e3 * median(values):.1f}"} for name, values in times.items()]
    rows.append({"training step": "ours / by hand", "ms": f"{median(ratios):.3f}"})
    return f"{table(rows)}\n2 layers of {HIDDEN}, {_conditions(repeats)}"


def in_turn(
    sides: dict[str, Callable[[], Any]], repeats: int, seconds: Callable[[Callable[[], Any]], float] | None = None
) -> dict[str, list[float]]:
    """Seconds of each side, `repeats` times, one after the other so that all meet the same disturbances."""
    measure = seconds or _timed
    for side in sides.values():
        measure(side)  # a warm-up
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            times[name].append(measure(side))
    return times


def _timed(side: Callable[[], Any]) -> float:
    start = time.perf_counter()
    side()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _pass(net: nn.Module, inputs: Tensor, dtype: torch.dtype) -> None:
    leaf = inputs.clone().requires_grad_()
    with torch.autocast(inputs.device.type, dtype, enabled=dtype != torch.float32):
        outputs = net(leaf)[0]
    outputs.float().square().mean().backward()
    net.zero_grad()


class _ByHand:
    """What somebody writes who needs no framework."""

    def __init__(self, batches: list[tuple[Tensor, Tensor]]) -> None:
        self.batches = batches
        self.embedding, self.lstm = nn.Embedding(VOCABULARY, HIDDEN), nn.LSTM(HIDDEN, HIDDEN, 2, dropout=0.1)
        self.dropout, self.head = nn.Dropout(0.1), nn.Linear(HIDDEN, VOCABULARY)
        self.parameters = [p for part in (self.embedding, self.lstm, self.head) for p in part.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=1e-3)
        self.state: Any = None

    def __call__(self) -> float:
        start = time.perf_counter()
        for inputs, targets in self.batches:
            outputs, state = self.lstm(self.embedding(inputs), self.state)
            self.state = tuple(part.detach() for part in state)
            loss = F.cross_entropy(self.head(self.dropout(outputs)).flatten(0, 1), targets.flatten())
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimizer.step()
        return time.perf_counter() - start


class _Ours:
    """`model=lstm` under Lightning's Trainer, with measures and logging as in a run."""

    def __init__(self, batches: list[tuple[Tensor, Tensor]]) -> None:
        self.batches = batches
        net = LanguageModel(VOCABULARY, LSTM, HIDDEN, num_layers=2, dropout=0.1)
        self.task = LanguageModelling(net, partial(torch.optim.Adam, lr=1e-3), token="character")

    def __call__(self) -> float:
        watch = _Watch()
        with quiet():
            trainer = Trainer(
                accelerator="cpu", max_epochs=1, gradient_clip_val=1.0, callbacks=[watch], logger=False,
                enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            )  # fmt: skip
            trainer.fit(self.task, DataLoader(self.batches, batch_size=None))  # type: ignore[arg-type]
        return watch.seconds


class _Watch(Callback):
    """From the first batch to the end of the last, without the Trainer's own start."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.start = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds = time.perf_counter() - self.start


def _conditions(repeats: int) -> str:
    machine = hardware()
    what = f"{BATCH} sequences of {STEPS} steps, hidden {HIDDEN}, {repeats} repeats, torch {torch.__version__}"
    return f"{what}, {machine['processor']}, {machine['cores']} cores, {machine['threads']} threads"
