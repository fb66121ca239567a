"""How far back in time gradients reach, and the matrices that they pass on the way (Pascanu et al. 2013, section 2)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from project.nets.cells import LSTM, Cell
from project.nets.recurrent import Recurrent


def gradient_norms(recurrent: Recurrent, inputs: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """||dL/dh_t|| by layer and by the distance of t from the loss, which is at the last time step; on the CPU.

    Args:
        recurrent: layers of one direction.
        inputs: (T, B, m).
        loss: the last output (B, n) to the sum of the sequences' losses.

    Returns:
        (layers, T): the means over the sequences; the first column is that of the last time step.
    """
    outputs, hidden = recurrent.unrolled(inputs)
    states = [h for steps in hidden for h in steps]
    gradients = torch.autograd.grad(loss(outputs[-1]), states, allow_unused=True, materialize_grads=True)
    norms = torch.stack(gradients).float().norm(dim=-1).mean(-1)  # (layers * T,)
    return norms.view(len(hidden), -1).flip(1).cpu()


def largest_singular_values(recurrent: Recurrent) -> dict[str, float]:
    """By layer and name, e.g. `layer0/W_hh`, the largest singular value of every matrix that multiplies the state."""
    found = {}
    for layer, cell in enumerate(recurrent.cells):
        assert isinstance(cell, Cell)
        for name, matrix in recurrent_matrices(cell).items():
            found[f"layer{layer}/{name}"] = float(torch.linalg.matrix_norm(matrix.detach().float(), 2))
    return found


@torch.no_grad()
def recurrent_matrices(cell: Cell) -> dict[str, Tensor]:
    """The matrices (n, n) that multiply the state, or what is made of it, in every `nn.Linear` of a cell.

    Their columns are those whose operand changes with the state. A matrix of several gates is parted into one for
    each: the LSTM's `W` into W_hi, W_hf, W_ho and W_hg.
    """
    operands: dict[str, list[Tensor]] = {}
    hooks = [
        module.register_forward_pre_hook(lambda _, inputs, name=name: operands.setdefault(name, []).append(inputs[0]))
        for name, module in cell.named_modules()
        if isinstance(module, nn.Linear)
    ]
    generator = torch.Generator().manual_seed(0)
    like = next(cell.parameters())
    try:
        for _ in range(2):
            states = torch.rand(cell.parts, 1, cell.hidden_size, generator=generator).to(like)
            cell(like.new_full((1, cell.input_size), 0.5), tuple(states))
    finally:
        for hook in hooks:
            hook.remove()
    found: dict[str, Tensor] = {}
    for name, (first, second, *_) in operands.items():
        columns = (first != second).flatten()
        if columns.any():
            weight = cell.get_parameter(f"{name}.weight")[:, columns]
            found |= _by_gate(cell, name, weight)
    return found


def _by_gate(cell: Cell, name: str, weight: Tensor) -> dict[str, Tensor]:
    count, rest = divmod(len(weight), cell.hidden_size)
    if rest or count < 2:
        return {name: weight}
    gates = "ifog" if isinstance(cell, LSTM) else name.removeprefix("W_h")
    names = [f"W_h{gate}" for gate in gates] if len(gates) == count else [f"{name}.{i}" for i in range(count)]
    return dict(zip(names, weight.chunk(count), strict=True))
