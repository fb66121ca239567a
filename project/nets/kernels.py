"""What computes a layer of a cell over a whole sequence, and which of the ways is the fastest here."""

import logging
import platform
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from project.nets.cells import Cell, State, Weights
from project.nets.split_step import SplitStep

log = logging.getLogger(__name__)

Kernel = Literal["auto", "fused", "compiled", "loop"]
CHUNK = 16  # time steps that are compiled together, at most


def has_bf16(device: torch.device) -> bool:
    """Whether `device` computes in bfloat16 by itself; a CPU without such instructions takes many times as long."""
    if device.type == "cpu":
        if not torch.backends.mkldnn.is_available() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            return False
        asked = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # oneDNN is content with AVX-512 alone
        return asked is None or platform.machine() not in ("x86_64", "AMD64") or bool(asked())
    return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def fused_name(cell: Cell, known: Weights | None, device: torch.device, dtype: torch.dtype, packed: bool) -> str | None:
    """The library whose kernel, `known` by what the cell says, computes its whole sequence; None: there is none."""
    if known is None or _owner(cell, "step") is not _owner(cell, "kernel"):
        return None
    if device.type == "cuda":
        there = torch.backends.cudnn.is_available() and torch.backends.cudnn.enabled
        return "cuDNN" if there and dtype in (torch.float32, torch.float16, torch.bfloat16) else None
    if device.type == "cpu" and known[0] == "lstm" and not packed:
        there = torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
        return (
            "oneDNN" if there and (dtype == torch.float32 or (dtype == torch.bfloat16 and has_bf16(device))) else None
        )
    return None


def _owner(cell: Cell, name: str) -> type:
    """The class that defines it: a kernel is for the step that stands beside it, not for a subclass's."""
    return next(owner for owner in type(cell).__mro__ if name in vars(owner))


def fused(
    kernels: Sequence[Weights], inputs: Tensor, batch_sizes: Tensor | None, states: Sequence[State], training: bool
) -> tuple[Tensor, list[State]]:
    """One layer, both of its directions if it has two, through torch's own kernel for the cell.

    Shapes: inputs (T, B, m), or with `batch_sizes` (N, m) as in a PackedSequence; each state's parts (B, n).
    """
    name, both = kernels[0][0], len(kernels) == 2
    weights = [weight.to(inputs.dtype) for _, found in kernels for weight in found]
    parts = [  # (directions, B, n) each; cuDNN wants them contiguous
        (torch.stack(part) if both else part[0][None].contiguous()).to(inputs.dtype)
        for part in zip(*states, strict=True)
    ]
    hidden: Any = parts if name == "lstm" else parts[0]
    function = getattr(torch._VF, name)
    if batch_sizes is None:
        outputs, *final = function(inputs, hidden, weights, True, 1, 0.0, training, both, False)
    else:
        outputs, *final = function(inputs, batch_sizes, hidden, weights, True, 1, 0.0, training, both)
    return outputs, [tuple(part[i] for part in final) for i in range(len(kernels))]


class _Matrix(torch.autograd.Function):
    """Gives a matrix its gradient over all time steps in one product, instead of one at each step.

    The loop computes sum_t + operand_t W^T with a detached W; what reaches `sums` on the way back is the gradient of
    all products, so that dW = gradient^T operands.
    """

    @staticmethod
    def forward(ctx: Any, sums: Tensor, matrix: Tensor, operands: list[Tensor]) -> Tensor:
        ctx.operands = operands  # filled by the loop, in the order of the rows of `sums`
        return sums.view_as(sums)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        operands = torch.cat([operand.reshape(-1, operand.shape[-1]) for operand in ctx.operands])
        return gradient, gradient.t() @ operands, None


class Loop:
    """A cell over a sequence, step by step.

    Args:
        cell: the cell; its step is taken apart at the first use.
        compiled: steps in training are compiled, some at a time.
    """

    def __init__(self, cell: Cell, compiled: bool = False) -> None:
        self.cell = cell
        self.split = _taken_apart(cell)
        self._compile(compiled)

    @classmethod
    def of(cls, cell: Cell, split: SplitStep | None) -> "Loop":
        """With a step that is taken apart already, or None: as it is written."""
        loop = cls.__new__(cls)
        loop.cell, loop.split = cell, split
        loop._compile(False)
        return loop

    def _compile(self, compiled: bool) -> None:
        self.compiled: Callable[..., Any] | None = None
        if compiled and self.split is not None:
            self.compiled = torch.compile(self._steps, dynamic=False, fullgraph=True)

    def __call__(self, x: Tensor, batch_sizes: list[int], state: State, reverse: bool = False) -> tuple[Tensor, State]:
        """x (N, m) in time-major order, batch_sizes[t] rows at step t, never growing: outputs (N, n), last states."""
        if self.split is None:
            return self._plain(x, batch_sizes, state, reverse)
        split, learning = self.split, torch.is_grad_enabled()
        values = dict(zip(split.wanted, split.before(x), strict=True))
        matrices, sums = split.matrices(), split.sums(x, values)
        dtype = compute_dtype(x)
        operands: list[list[Tensor]] = [[] for _ in matrices]
        for g, matrix in enumerate(matrices):
            if learning and matrix.requires_grad:
                sums[g] = _Matrix.apply(sums[g].to(dtype), matrix.to(dtype), operands[g])
        streams = [values[node].to(dtype) for node in split.streams]
        sums = [total.to(dtype) for total in sums]
        transposed = [matrix.detach().to(dtype).t().contiguous() for matrix in matrices]
        state = tuple(part.to(dtype) for part in state)
        with torch.autocast(x.device.type, enabled=not split.whole and torch.is_autocast_enabled(x.device.type)):
            even = batch_sizes[0] == batch_sizes[-1]
            if self.compiled is not None and self.cell.training and learning and even and not reverse:
                try:
                    return self._chunks(streams, sums, transposed, state, batch_sizes, operands)
                except (RuntimeError, OSError) as error:  # no compiler that works, or a step that it cannot take
                    log.warning("compiling failed, so the loop runs uncompiled: %s", str(error).strip()[:200])
                    self.compiled = None
                    for kept in operands:
                        kept.clear()
            return self._each(streams, sums, transposed, state, batch_sizes, operands, reverse)

    def _each(
        self,
        streams: list[Tensor],
        sums: list[Tensor],
        matrices: list[Tensor],
        state: State,
        batch_sizes: list[int],
        operands: list[list[Tensor]],
        reverse: bool,
    ) -> tuple[Tensor, State]:
        assert self.split is not None
        fixed = self.split.fixed
        known = [
            *([stream] * len(batch_sizes) if still else stream.split(batch_sizes)
              for stream, still in zip(streams, fixed, strict=True)),
            *(total.split(batch_sizes) for total in sums),
        ]  # fmt: skip
        steps = list(zip(*known, strict=True)) if known else [()] * len(batch_sizes)
        body, parts = self.split.body, self.cell.parts

        def step(t: int, current: State) -> State:
            results = body(*steps[t], *matrices, *current)
            for kept, operand in zip(operands, results[parts:], strict=True):
                kept.append(operand.detach())
            return results[:parts]

        outputs, state = over(step, batch_sizes, state, reverse)
        if reverse:
            for kept in operands:
                kept.reverse()  # the order of the rows
        return outputs, state

    def _chunks(
        self,
        streams: list[Tensor],
        sums: list[Tensor],
        matrices: list[Tensor],
        state: State,
        batch_sizes: list[int],
        operands: list[list[Tensor]],
    ) -> tuple[Tensor, State]:
        assert self.split is not None
        assert self.compiled is not None
        steps, rows = len(batch_sizes), batch_sizes[0]
        size = next((size for size in range(CHUNK, CHUNK // 2, -1) if steps % size == 0), CHUNK)
        # one compiled form for the first steps and all others
        state = tuple(part if part.requires_grad else part.detach().requires_grad_() for part in state)
        outputs = []
        for start in range(0, steps, size):
            count = min(size, steps - start)
            here = slice(start * rows, (start + count) * rows)
            cut = [stream if still else stream[here] for stream, still in zip(streams, self.split.fixed, strict=True)]
            hs, state, used = self.compiled(count, cut, [total[here] for total in sums], matrices, state)
            outputs.append(hs)
            for kept, operand in zip(operands, used, strict=True):
                kept.append(operand.detach())
        return torch.cat(outputs), state

    def _steps(
        self, count: int, streams: list[Tensor], sums: list[Tensor], matrices: list[Tensor], state: State
    ) -> tuple[Tensor, State, list[Tensor]]:
        """`count` steps of (rows, ...) each: outputs (count * rows, n), the state after them, operands likewise."""
        assert self.split is not None
        fixed, parts = self.split.fixed, self.cell.parts
        cut = [[stream] * count if still else stream.chunk(count) for stream, still in zip(streams, fixed, strict=True)]
        totals = [total.chunk(count) for total in sums]
        outputs, operands = [], []
        for t in range(count):
            known = [stream[t] for stream in cut] + [total[t] for total in totals]
            results = self.split.body(*known, *matrices, *state)
            state = tuple(results[:parts])
            outputs.append(state[0])
            operands.append(results[parts:])
        return torch.cat(outputs), state, [torch.cat(group) for group in zip(*operands, strict=True)]

    def _plain(self, x: Tensor, batch_sizes: list[int], state: State, reverse: bool) -> tuple[Tensor, State]:
        """The step as it is written."""
        steps = x.split(batch_sizes)
        return over(lambda t, current: self.cell(steps[t], current), batch_sizes, state, reverse)


def over(
    step: Callable[[int, State], State], batch_sizes: list[int], state: State, reverse: bool
) -> tuple[Tensor, State]:
    """Run `step(t, state)` over time, forwards or backwards; sequences that are over keep the state that they have.

    Returns:
        Outputs (N, n) in time-major order, and the state of each sequence after its own last step.
    """
    hs: list[Tensor] = []
    if not reverse:
        ended: list[State] = []
        for t, rows in enumerate(batch_sizes):
            if len(state[0]) > rows:
                ended.append(tuple(part[rows:] for part in state))
                state = tuple(part[:rows] for part in state)
            state = step(t, state)
            hs.append(state[0])
        if ended:
            state = tuple(torch.cat([part, *others]) for part, *others in zip(state, *reversed(ended), strict=True))
        return torch.cat(hs), state
    begins, state = state, tuple(part[: batch_sizes[-1]] for part in state)
    for t in range(len(batch_sizes) - 1, -1, -1):
        rows = batch_sizes[t]
        if len(state[0]) < rows:
            state = tuple(
                torch.cat([part, first[len(part) : rows].to(part.dtype)])
                for part, first in zip(state, begins, strict=True)
            )
        state = step(t, state)
        hs.append(state[0])
    return torch.cat(hs[::-1]), state


def compute_dtype(x: Tensor) -> torch.dtype:
    """What autocast asks for; a CPU without instructions for it stays at the input's type."""
    if not torch.is_autocast_enabled(x.device.type) or x.dtype == torch.float64:
        return x.dtype
    wanted = torch.get_autocast_dtype(x.device.type)
    return wanted if x.device.type != "cpu" or wanted != torch.bfloat16 or has_bf16(x.device) else torch.float32


def _taken_apart(cell: Cell) -> SplitStep | None:
    try:
        split = SplitStep(cell)
        _check_agreement(cell, split)
        return split
    except Exception as error:  # whatever a user's step does that cannot be traced
        reason = " ".join(str(error).split())[:120]
        log.info("%s's step is run as it is written: it cannot be taken apart (%s)", type(cell).__name__, reason)
        return None


def _check_agreement(cell: Cell, split: SplitStep) -> None:
    """Two steps of random numbers, taken apart and as written; what does not agree raises."""
    some = next(cell.parameters(), torch.empty(0))
    with torch.no_grad(), torch.random.fork_rng([]), torch.autocast(some.device.type, enabled=False):
        torch.manual_seed(0)
        x = torch.randn(6, cell.input_size, dtype=some.dtype, device=some.device)
        state = tuple(torch.randn(3, cell.hidden_size, dtype=some.dtype, device=some.device) for _ in range(cell.parts))
        results = []
        for loop in (Loop.of(cell, split), Loop.of(cell, None)):
            torch.manual_seed(1)  # of dropout and the like
            results.append(loop(x, [3, 3], state))
        torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=1e-4)
