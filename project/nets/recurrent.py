"""Layers of a recurrent cell over whole sequences, by the fastest way that this machine has for the cell."""

import logging
import shutil
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from project.errors import UserError
from project.nets.cells import Cell, State
from project.nets.kernels import Kernel, Loop, compute_dtype, fused, fused_name, has_bf16

log = logging.getLogger(__name__)

WORTH_COMPILING = 3000  # optimizer steps


class Recurrent(nn.Module):
    """Sequence to sequence, with states in and out.

    Args:
        cell: makes a cell from its input's and its state's width.
        input_size: width m of the inputs.
        hidden_size: width n of the states.
        num_layers: the outputs of each layer are the inputs of the next.
        dropout: on the outputs of every layer but the last, never from one time step to the next (Zaremba et al.
            2014, section 3.1).
        bidirectional: a second cell in each layer reads from the end (Schuster and Paliwal 1997); outputs are 2n wide.
            For cells that want an input as wide as the state, a matrix maps them to n before the next layer.
        kernel: `fused`: cuDNN's or oneDNN's for the cell; `loop`: one step after the other, with everything that
            needs the inputs alone computed before; `compiled`: that loop, compiled in training; `auto`: fused where
            there is such a kernel, otherwise loop.

    Raises:
        ValueError: no layer, a dropout outside [0, 1), an unknown kernel, or a cell that does not take these sizes.
    """

    def __init__(
        self,
        cell: Callable[[int, int], Cell],
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = False,
        kernel: Kernel = "auto",
    ) -> None:
        super().__init__()
        if num_layers < 1 or hidden_size < 1:
            raise ValueError(f"num_layers and hidden_size must be at least 1, got {num_layers} and {hidden_size}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {dropout}")
        if kernel not in ("auto", "fused", "compiled", "loop"):
            raise ValueError(f"kernel must be auto, fused, compiled or loop, got {kernel}")
        self.directions = 2 if bidirectional else 1
        self.hidden_size, self.output_size = hidden_size, self.directions * hidden_size
        self.num_layers, self.dropout, self.kernel = num_layers, dropout, kernel
        self.cells = nn.ModuleList(cell(input_size, hidden_size) for _ in range(self.directions))
        self.between = nn.ModuleList()  # by layer from the second on: what the layer below is mapped by
        for _ in range(num_layers - 1):
            into: nn.Module = nn.Identity()
            try:
                cells = [cell(self.output_size, hidden_size) for _ in range(self.directions)]
            except ValueError:  # of cells that want their input as wide as the state, in two directions
                cells = [cell(hidden_size, hidden_size) for _ in range(self.directions)]
                into = nn.Linear(self.output_size, hidden_size, bias=False)
            self.cells.extend(cells)
            self.between.append(into)
        self._loops: dict[tuple[int, bool, bool], Loop] = {}
        self._said: set[str] = set()
        self._compiles = False

    def initial(self, batch: int, like: Tensor) -> list[State]:
        """Zeros, for each layer and direction, of the type and on the device of `like`."""
        return [tuple(like.new_zeros(batch, self.hidden_size) for _ in range(cell.parts)) for cell in self._cells()]

    def forward(
        self, inputs: Tensor | PackedSequence, states: Sequence[State] | None = None
    ) -> tuple[Tensor | PackedSequence, list[State]]:
        """Inputs (T, B, m) to outputs (T, B, output_size); packed sequences to packed sequences.

        States, each part (B, n), stand in the order of layers, in a layer first the forward direction; those that come
        out are each sequence's after its own last step, those of a backward direction after its first.
        """
        if not isinstance(inputs, PackedSequence):
            steps, batch = inputs.shape[:2]
            states = self.initial(batch, inputs) if states is None else states
            _check_rows(states, batch)
            outputs, final = self._layers(inputs.flatten(0, 1), [batch] * steps, None, states)
            return outputs.unflatten(0, (steps, batch)), final
        data, sizes, order, back = inputs
        states = self.initial(int(sizes[0]), data) if states is None else states
        _check_rows(states, int(sizes[0]))
        if order is not None:
            states = [tuple(part.index_select(0, order) for part in state) for state in states]
        outputs, final = self._layers(data, sizes.tolist(), sizes, states)
        if back is not None:
            final = [tuple(part.index_select(0, back) for part in state) for state in final]
        return PackedSequence(outputs, sizes, order, back), final

    def step(self, x: Tensor, states: Sequence[State]) -> tuple[Tensor, list[State]]:
        """One time step through all layers of one direction: x (B, m) to the last layer's output (B, n), and states."""
        following: list[State] = []
        for layer, (cell, state) in enumerate(zip(self._cells(), states, strict=True)):
            if layer:
                x = F.dropout(x, self.dropout, self.training)
            following.append(cell(x, state))
            x = following[-1][0]
        return x, following

    def unrolled(self, inputs: Tensor, states: Sequence[State] | None = None) -> tuple[Tensor, list[list[Tensor]]]:
        """Outputs (T, B, n) step by step as the cells are written, and by layer the T states h (B, n), in the graph."""
        states = self.initial(inputs.shape[1], inputs) if states is None else states
        hs: list[list[Tensor]] = [[] for _ in self.cells]
        for x in inputs:
            _, states = self.step(x, states)
            for kept, state in zip(hs, states, strict=True):
                kept.append(state[0])
        return torch.stack(hs[-1]), hs

    def compile_if_it_pays(self, steps: float, half_precision: bool, device: torch.device) -> None:
        """Let `auto` compile the loop for a training of so many optimizer steps; to be called before the first.

        In float32 on a CPU a step is its matrix products, and compiling gains nothing. In half precision, and on a GPU,
        the small operations between them are what counts. It takes up to a minute for each layer, so that only long
        trainings gain by it, and needs a C++ compiler.
        """
        gains = half_precision and has_bf16(device) if device.type == "cpu" else device.type == "cuda"
        compiler = shutil.which("g++") or shutil.which("clang++")
        if self.kernel == "auto" and gains and steps >= WORTH_COMPILING and compiler:
            self._compiles = True

    def _cells(self) -> list[Cell]:
        return [cell for cell in self.cells if isinstance(cell, Cell)]

    def _layers(
        self, x: Tensor, batch_sizes: list[int], packed: Tensor | None, states: Sequence[State]
    ) -> tuple[Tensor, list[State]]:
        """Inputs (N, m), time-major, to outputs (N, output_size) and the final states."""
        final: list[State] = []
        for layer in range(self.num_layers):
            here = slice(layer * self.directions, (layer + 1) * self.directions)
            if layer:
                x = self.between[layer - 1](F.dropout(x, self.dropout, self.training))
            x, last = self._layer(here.start, self._cells()[here], x, batch_sizes, packed, states[here])
            final += last
        return x, final

    def _layer(
        self,
        first: int,
        cells: list[Cell],
        x: Tensor,
        batch_sizes: list[int],
        packed: Tensor | None,
        states: Sequence[State],
    ) -> tuple[Tensor, list[State]]:
        dtype = compute_dtype(x)
        kernels = [found for cell in cells if (found := cell.kernel()) is not None]
        library = fused_name(cells[0], kernels[0] if kernels else None, x.device, dtype, packed is not None)
        if self.kernel == "fused" and library is None and self.training:
            raise UserError(
                f"model.net.kernel=fused: there is none for {type(cells[0]).__name__} in {dtype} on {x.device.type}"
                f"{' for sequences of unequal length' if packed is not None else ''}; choose auto"
            )
        if library is not None and self.kernel in ("auto", "fused"):
            self._say(f"{library}'s kernel for {type(cells[0]).__name__}", dtype)
            inputs = x.to(dtype)
            with torch.autocast(x.device.type, enabled=False):
                if packed is None:
                    given = inputs.unflatten(0, (-1, batch_sizes[0]))
                    outputs, last = fused(kernels, given, None, states, self.training)
                    return outputs.flatten(0, 1), last
                return fused(kernels, inputs, packed, states, self.training)
        compiled = self.kernel == "compiled" or self._compiles
        self._say(f"{'a compiled' if compiled else 'a'} loop over {type(cells[0]).__name__}'s step", dtype)
        results = [
            self._loop(first + i, compiled)(x, batch_sizes, state, reverse=i == 1) for i, state in enumerate(states)
        ]
        outputs = results[0][0] if len(results) == 1 else torch.cat([result[0] for result in results], 1)
        return outputs, [result[1] for result in results]

    def _loop(self, number: int, compiled: bool) -> Loop:
        key = (number, compiled, self.training)  # a step may ask for it
        if key not in self._loops:
            self._loops[key] = Loop(self._cells()[number], compiled)
        return self._loops[key]

    def _say(self, what: str, dtype: torch.dtype) -> None:
        """Once, in training: what computes the recurrence."""
        if self.training and torch.is_grad_enabled():
            line = f"recurrent layers: {what}, {str(dtype).removeprefix('torch.')}"
            if line not in self._said:
                self._said.add(line)
                log.info(line)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Recurrent":
        self._loops.clear()  # they may hold what is replaced on another device or in another type
        super()._apply(fn, recurse)
        return self

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_loops": {}}  # they are made anew where they are needed


def _check_rows(states: Sequence[State], batch: int) -> None:
    """The fused kernels would read whatever lies behind states of fewer sequences."""
    rows = {int(part.shape[0]) for state in states for part in state}  # tensors, while a graph is traced
    if rows != {int(batch)}:
        raise ValueError(f"{batch} sequences need as many states, got states of {sorted(rows)}")
