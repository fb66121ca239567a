"""One step of a recurrent network: the input and the previous state in, the next state out.

A cell is its equations. `project.nets.recurrent.Recurrent` makes layers, directions and speed out of any of them: what
the step computes from the input alone is done for all time steps at once, and matrices are multiplied together.
"""

import inspect
from abc import abstractmethod
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

State = tuple[Tensor, ...]  # each (B, n); the first is the output h
Weights = tuple[str, list[Tensor]]  # of a kernel, which is named


class Cell(nn.Module):
    """A member gives `step(x, h)`, or with further parts of the state `step(x, h, c)`, and its `nn.Linear` matrices.

    Args:
        input_size: width m of the input x.
        hidden_size: width n of each part of the state.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size

    @abstractmethod
    def step(self, x: Tensor, *state: Tensor) -> Tensor | State:
        """x (B, m) and the previous state, each (B, n), to the next state."""

    @cached_property
    def parts(self) -> int:
        """Of how many tensors the state consists."""
        return len(inspect.signature(self.step).parameters) - 1

    def forward(self, x: Tensor, state: State) -> State:
        """One step: x (B, m), state and next state each (B, n)."""
        following = self.step(x, *state)
        return following if isinstance(following, tuple) else (following,)

    def kernel(self) -> Weights | None:
        """The name of torch's kernel for this cell, and its weights W_ih, W_hh, b_ih, b_hh; None: there is none."""
        return None


class RNN(Cell):
    """h' = tanh(W_hh h + W_xh x + b) (Elman 1990)."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.W_xh = nn.Linear(input_size, hidden_size)
        self.W_hh = recurrent(hidden_size, hidden_size)

    def step(self, x: Tensor, h: Tensor) -> Tensor:  # type: ignore[override]
        return torch.tanh(self.W_hh(h) + self.W_xh(x))

    def kernel(self) -> Weights | None:
        bias = self.W_xh.bias
        return "rnn_tanh", [self.W_xh.weight, self.W_hh.weight, bias, torch.zeros_like(bias)]


class LSTM(Cell):
    """(i, f, o, g) = W [x; h] + b; c' = s(f) c + s(i) tanh(g); h' = s(o) tanh(c').

    Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000; W is one matrix, 4n x (m + n).

    Args:
        forget_bias: where b starts for f (Jozefowicz et al. 2015, section 2.2, take 1; torch's LSTM is at about 0).
    """

    def __init__(self, input_size: int, hidden_size: int, forget_bias: float = 1.0) -> None:
        super().__init__(input_size, hidden_size)
        self.W = nn.Linear(input_size + hidden_size, 4 * hidden_size)
        with torch.no_grad():
            bound = input_size**-0.5
            self.W.weight[:, :input_size].uniform_(-bound, bound)
            orthogonal_(self.W.weight[:, input_size:])
            self.W.bias.zero_()
            self.W.bias[hidden_size : 2 * hidden_size] = forget_bias

    def step(self, x: Tensor, h: Tensor, c: Tensor) -> State:  # type: ignore[override]
        gates = self.W(torch.cat([x, h], dim=-1))  # (B, 4n)
        i, f, o, g = gates.chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def kernel(self) -> Weights | None:
        from_x, from_h = self.W.weight.split((self.input_size, self.hidden_size), dim=1)
        ordered = []
        for part in (from_x, from_h, self.W.bias):
            i, f, o, g = part.chunk(4)
            ordered.append(torch.cat([i, f, g, o]))  # torch's order of the gates
        return "lstm", [*ordered, torch.zeros_like(ordered[-1])]


class GRU(Cell):
    """z = s(W_xz x + W_hz h + b_z), r = s(W_xr x + W_hr h + b_r), h' = z h + (1 - z) candidate (Cho et al. 2014).

    Args:
        reset: where the reset gate acts. `before` the matrix: candidate = tanh(W_xh x + W_hh (r h) + b), equation 8 of
            the paper. `after` it: candidate = tanh(W_xh x + b + r (W_hh h + b_hh)), the form that cuDNN computes.

    Raises:
        ValueError: another `reset`.
    """

    def __init__(self, input_size: int, hidden_size: int, reset: Literal["before", "after"] = "before") -> None:
        super().__init__(input_size, hidden_size)
        if reset not in ("before", "after"):
            raise ValueError(f"cell.reset must be before (Cho et al. 2014) or after (cuDNN's form), got {reset}")
        self.reset = reset
        self.W_x = nn.Linear(input_size, 3 * hidden_size)  # of r, z and the candidate
        self.W_hrz = recurrent(hidden_size, 2 * hidden_size)
        self.W_hh = recurrent(hidden_size, hidden_size, bias=reset == "after")

    def step(self, x: Tensor, h: Tensor) -> Tensor:  # type: ignore[override]
        n = self.hidden_size
        x_rz, x_h = self.W_x(x).split((2 * n, n), dim=-1)
        r, z = torch.sigmoid(self.W_hrz(h) + x_rz).chunk(2, dim=-1)
        inner = self.W_hh(r * h) + x_h if self.reset == "before" else x_h + r * self.W_hh(h)
        return torch.lerp(torch.tanh(inner), h, z)  # z h + (1 - z) candidate

    def kernel(self) -> Weights | None:
        if self.reset == "before":
            return None
        bias = torch.cat([self.W_x.bias.new_zeros(2 * self.hidden_size), self.W_hh.bias])
        return "gru", [self.W_x.weight, torch.cat([self.W_hrz.weight, self.W_hh.weight]), self.W_x.bias, bias]


class MUT1(Cell):
    """Jozefowicz et al. 2015, section 3.3: the input as wide as the state.

    z = s(W_xz x + b_z), r = s(W_xr x + W_hr h + b_r), h' = tanh(W_hh (r h) + tanh(x) + b_h) z + h (1 - z).

    Raises:
        ValueError: the input is not as wide as the state.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        as_wide("MUT1", input_size, hidden_size)
        self.W_xz = nn.Linear(input_size, hidden_size)
        self.W_xr = nn.Linear(input_size, hidden_size)
        self.W_hr = recurrent(hidden_size, hidden_size)
        self.W_hh = recurrent(hidden_size, hidden_size, bias=True)

    def step(self, x: Tensor, h: Tensor) -> Tensor:  # type: ignore[override]
        z = torch.sigmoid(self.W_xz(x))
        r = torch.sigmoid(self.W_hr(h) + self.W_xr(x))
        return torch.lerp(h, torch.tanh(self.W_hh(r * h) + torch.tanh(x)), z)


class MUT2(Cell):
    """Jozefowicz et al. 2015, section 3.3: the input as wide as the state.

    z = s(W_xz x + W_hz h + b_z), r = s(x + W_hr h + b_r), h' = tanh(W_hh (r h) + W_xh x + b_h) z + h (1 - z).

    Raises:
        ValueError: the input is not as wide as the state.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        as_wide("MUT2", input_size, hidden_size)
        self.W_xz = nn.Linear(input_size, hidden_size)
        self.W_xh = nn.Linear(input_size, hidden_size)
        self.W_hz = recurrent(hidden_size, hidden_size)
        self.W_hr = recurrent(hidden_size, hidden_size, bias=True)
        self.W_hh = recurrent(hidden_size, hidden_size)

    def step(self, x: Tensor, h: Tensor) -> Tensor:  # type: ignore[override]
        z = torch.sigmoid(self.W_hz(h) + self.W_xz(x))
        r = torch.sigmoid(self.W_hr(h) + x)
        return torch.lerp(h, torch.tanh(self.W_hh(r * h) + self.W_xh(x)), z)


class MUT3(Cell):
    """Jozefowicz et al. 2015, section 3.3.

    z = s(W_xz x + W_hz tanh(h) + b_z), r = s(W_xr x + W_hr h + b_r),
    h' = tanh(W_hh (r h) + W_xh x + b_h) z + h (1 - z).
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.W_xz = nn.Linear(input_size, hidden_size)
        self.W_xr = nn.Linear(input_size, hidden_size)
        self.W_xh = nn.Linear(input_size, hidden_size)
        self.W_hz = recurrent(hidden_size, hidden_size)
        self.W_hr = recurrent(hidden_size, hidden_size)
        self.W_hh = recurrent(hidden_size, hidden_size)

    def step(self, x: Tensor, h: Tensor) -> Tensor:  # type: ignore[override]
        z = torch.sigmoid(self.W_hz(torch.tanh(h)) + self.W_xz(x))
        r = torch.sigmoid(self.W_hr(h) + self.W_xr(x))
        return torch.lerp(h, torch.tanh(self.W_hh(r * h) + self.W_xh(x)), z)


def recurrent(hidden_size: int, outputs: int, bias: bool = False) -> nn.Linear:
    """A matrix that multiplies the state, made of orthogonal n x n blocks (Saxe et al. 2014); a bias starts at 0."""
    linear = nn.Linear(hidden_size, outputs, bias=bias)
    with torch.no_grad():
        orthogonal_(linear.weight)
        if bias:
            linear.bias.zero_()
    return linear


def orthogonal_(weight: Tensor) -> None:
    """Fill (k n, n) with k orthogonal matrices."""
    for block in weight.split(weight.shape[1]):
        block.copy_(nn.init.orthogonal_(torch.empty_like(block, memory_format=torch.contiguous_format)))


def as_wide(name: str, input_size: int, hidden_size: int) -> None:
    if input_size != hidden_size:
        raise ValueError(
            f"{name} adds the input to the state, so both must be of one width, got input {input_size} and state "
            f"{hidden_size}: give the inputs, such as an embedding, the width of the state"
        )
