"""Muon: steps of SGD with momentum, made orthogonal (Jordan et al. 2024, "Muon: an optimizer for hidden layers")."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic that brings singular values to about 1


class Muon(Optimizer):
    """Convolutions and hidden matrices take orthogonalised steps; everything else takes steps of SGD.

    A kernel (O, I, h, w) counts as the matrix (O, I h w). Biases, scales and the last layer (the parameter that stands
    last among those with two dimensions) are given to SGD with Nesterov momentum at `sgd_lr`.

    Args:
        params: tensors, or groups of them.
        lr: of the orthogonalised steps.
        momentum: of both.
        weight_decay: orthogonalised steps shrink the weights by lr * weight_decay, the others add it to the gradient.
        sgd_lr: learning rate of the rest, as a multiple of `lr`.
        steps: iterations of Newton and Schulz.

    Raises:
        ValueError: a rate that is not positive, or a momentum outside [0, 1).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.05,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        sgd_lr: float = 1.0,
        steps: int = 5,
    ) -> None:
        if lr <= 0 or sgd_lr <= 0:
            raise ValueError(f"lr and sgd_lr must be positive, got {lr} and {sgd_lr}")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be at least 0 and below 1, got {momentum}")
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "sgd_lr": sgd_lr, "steps": steps}
        super().__init__(params, defaults)
        matrices = [p for group in self.param_groups for p in group["params"] if p.ndim == 2]
        self._last = id(matrices[-1]) if matrices else None

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step; what `closure`, which computes the gradients again, returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        hidden = parameter.ndim >= 2 and id(parameter) != self._last
        lr = group["lr"] if hidden else group["lr"] * group["sgd_lr"]
        if group["weight_decay"]:
            if hidden:
                parameter.mul_(1 - lr * group["weight_decay"])
            else:
                gradient = gradient.add(parameter, alpha=group["weight_decay"])
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].mul_(group["momentum"]).add_(gradient)
        update = gradient.add(state["momentum"], alpha=group["momentum"])  # Nesterov's
        if hidden:
            matrix = orthogonalised(update.flatten(1), group["steps"]).view(update.shape)
            update = (
                matrix * max(1.0, len(parameter) / matrix[0].numel()) ** 0.5
            )  # as if its entries were a step's of a square one
        parameter.add_(update, alpha=-lr)


def orthogonalised(matrix: Tensor, steps: int = 5) -> Tensor:
    """U V^T of the matrix U S V^T, roughly: Newton and Schulz's iteration leaves singular values of 0.7 to 1.2.

    Shape: (m, n) to (m, n).
    """
    a, b, c = COEFFICIENTS
    x = matrix / (matrix.norm() + 1e-7)
    wide = x if x.shape[0] <= x.shape[1] else x.T
    for _ in range(steps):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide if x.shape[0] <= x.shape[1] else wide.T
