"""Speed of recurrent training, against `torch.nn`'s modules and a loop by hand."""

import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from project.benchmarks.measuring import Figure, finish, in_turn
from project.benchmarks.step import Ours, Repeated, composed, net_of
from project.nets import cells
from project.nets.kernels import Kernel, has_bf16
from project.nets.recurrent import Recurrent

STEPS, BATCH, HIDDEN, VOCABULARY, RATE = 50, 50, 256, 66, 1e-3
CELLS: dict[str, Callable[..., Any]] = {
    "rnn": cells.RNN, "lstm": cells.LSTM, "gru": cells.GRU, "gru reset=after": partial(cells.GRU, reset="after"),
    "mut1": cells.MUT1, "mut2": cells.MUT2, "mut3": cells.MUT3,
}  # fmt: skip
MUT1 = {("mut1", "float32"): "<= 1", ("mut1 compiled", "bfloat16"): "<= 1.1"}  # targets


def recurrent(
    repeats: int,
    compiled: Sequence[str] = (),
    names: Sequence[str] = tuple(CELLS),
    steps: int = 20,
    device: str = "cpu",
) -> list[Figure]:
    """Layers of every cell, and a whole training step.

    Args:
        repeats: measurements of each.
        compiled: cells that are also measured with `kernel=compiled`; compiling takes up to a minute each.
        names: cells.
        steps: optimizer steps of a measurement.
        device: cpu or cuda.
    """
    return [*recurrent_layers(repeats, compiled, names, device), *training_step(repeats, steps, device)]


def recurrent_layers(
    repeats: int, compiled: Sequence[str] = (), names: Sequence[str] = tuple(CELLS), device: str = "cpu"
) -> list[Figure]:
    """Forward and backward through one layer of 256 units, 50 sequences of 50 steps; all in turn, `repeats` times.

    The reference is `nn.GRU`, or for the LSTM `nn.LSTM`, in the same precision: float32, and bfloat16 where the
    device has instructions for it.
    """
    inputs = torch.randn(STEPS, BATCH, HIDDEN, device=device)
    nets: dict[str, nn.Module] = {"nn.GRU": nn.GRU(HIDDEN, HIDDEN), "nn.LSTM": nn.LSTM(HIDDEN, HIDDEN)}
    nets |= {name: Recurrent(CELLS[name], HIDDEN, HIDDEN) for name in names}
    chosen: Kernel = "compiled"
    nets |= {f"{name} compiled": Recurrent(CELLS[name], HIDDEN, HIDDEN, kernel=chosen) for name in compiled}
    figures = []
    for dtype in _types(device):
        sides: dict[str, Callable[[], Any]] = {
            name: partial(_pass, net.to(device), inputs, dtype) for name, net in nets.items()
        }
        times = {name: [1e3 * value for value in found] for name, found in in_turn(sides, repeats).items()}
        for name in list(nets)[2:]:
            reference = "nn.LSTM" if name.startswith("lstm") else "nn.GRU"
            what = f"forward and backward of {name}, {_name(dtype)}, against {reference}"
            target = MUT1.get((name, _name(dtype)), "")
            figures.append(Figure(what, "ms", times[name], times[reference], target))
    return figures


def training_step(repeats: int, steps: int = 20, device: str = "cpu") -> list[Figure]:
    """A whole training step of `model=lstm` against the same in a loop by hand with `nn.LSTM`, in turn.

    Args:
        repeats: measurements of each, of `steps` steps.
        steps: optimizer steps of a measurement.
        device: cpu or cuda.
    """
    ids = torch.randint(0, VOCABULARY, (steps, STEPS + 1, BATCH), device=device)
    batches = [(part[:-1], part[1:]) for part in ids]
    sides: dict[str, Callable[[], Any]] = {}
    with tempfile.TemporaryDirectory(prefix="steps-") as folder:
        for dtype in _types(device):
            sides[f"ours {_name(dtype)}"] = _ours(batches, dtype, device, folder)
            sides[f"by hand {_name(dtype)}"] = _ByHand(batches, dtype, device)
        times = in_turn(sides, repeats, seconds=lambda side: side() / steps)
    milliseconds = {name: [1e3 * value for value in found] for name, found in times.items()}
    figures = [
        Figure(
            f"training step of model=lstm, 2 layers of {HIDDEN}, {_name(dtype)}, against a loop by hand",
            "ms",
            milliseconds[f"ours {_name(dtype)}"],
            milliseconds[f"by hand {_name(dtype)}"],
            "<= 1.05",
        )
        for dtype in _types(device)
    ]
    if "ours bfloat16" in times:
        half, full = ([1 / value for value in times[name]] for name in ("ours bfloat16", "ours float32"))
        figures.append(
            Figure("training steps of model=lstm, bfloat16 against float32", "steps/s", half, full, ">= 1.5")
        )
    return figures


def _types(device: str) -> list[torch.dtype]:
    return [torch.float32] + ([torch.bfloat16] if has_bf16(torch.device(device)) else [])


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _pass(net: nn.Module, inputs: Tensor, dtype: torch.dtype) -> None:
    leaf = inputs.clone().requires_grad_()
    with torch.autocast(inputs.device.type, dtype, enabled=dtype != torch.float32):
        outputs = net(leaf)[0]
    outputs.float().square().mean().backward()
    net.zero_grad()


class _ByHand:
    """What somebody writes who needs no framework."""

    def __init__(self, batches: list[tuple[Tensor, Tensor]], dtype: torch.dtype, device: str) -> None:
        self.batches, self.dtype, self.device = batches, dtype, device
        self.embedding, self.lstm = nn.Embedding(VOCABULARY, HIDDEN), nn.LSTM(HIDDEN, HIDDEN, 2, dropout=0.1)
        self.dropout, self.head = nn.Dropout(0.1), nn.Linear(HIDDEN, VOCABULARY)
        self.parameters = [p for part in (self.embedding, self.lstm, self.head) for p in part.to(device).parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=RATE)
        self.state: Any = None

    def __call__(self) -> float:
        start = time.perf_counter()
        for inputs, targets in self.batches:
            with torch.autocast(self.device, self.dtype, enabled=self.dtype != torch.float32):
                outputs, state = self.lstm(self.embedding(inputs), self.state)
                self.state = tuple(part.detach() for part in state)
                loss = F.cross_entropy(self.head(self.dropout(outputs)).flatten(0, 1), targets.flatten())
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimizer.step()
        finish()
        return time.perf_counter() - start


def _ours(batches: list[tuple[Tensor, Tensor]], dtype: torch.dtype, device: str, folder: str) -> Ours:
    """`model=lstm` as a run trains it, with its Trainer, its logger and those callbacks that need no text."""
    words = ["model=lstm", "data.path=TEXT", "scheduler=none", f"optimizer.lr={RATE}"]
    words += ["default_callbacks=scalars", f"model.net.hidden_size={HIDDEN}", f"folder={folder}"]
    words.append(f"trainer.precision={'32-true' if dtype == torch.float32 else 'bf16-mixed'}")
    sizes = {"vocab_size": VOCABULARY, "token": "character"}
    return Ours(composed(*words, device=device, data="text", sizes=sizes), net_of, Repeated(batches, len(batches)))
