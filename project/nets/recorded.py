"""A network whose training on a GPU is recorded once and played back, instead of being started kernel by kernel."""

import copy
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves


class Recorded:
    """A network's `forward` and its gradients as CUDA graphs, for training batches of the shapes that it saw first.

    Where a GPU computes a step faster than the processor can start its kernels, one by one, this is what a step waits
    for. Whatever is done in `forward` is recorded with the first batch: it must not depend on values, nor wait for
    them. Other shapes, validation, whatever needs no gradients and whatever is called before the last one's backward
    run it as written. Hooks of the network itself are called as always, those of its parts only when it is recorded.
    """

    def __init__(self, net: nn.Module) -> None:
        self.net, self.written = net, net.forward
        self.played: Any = None
        self.shapes: list[torch.Size] = []
        self.waiting = False  # for the backward of what was played last: its outputs stand where the next ones would

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        fits = not options and all(isinstance(part, Tensor) for part in inputs) and not self.waiting
        if not fits or not self.net.training or not torch.is_grad_enabled():
            return self.written(*inputs, **options)
        if self.played is None:
            self.shapes, self.played = [part.shape for part in inputs], self._record(inputs)
        if [part.shape for part in inputs] != self.shapes:
            return self.written(*inputs)
        outputs = self.played(*inputs)
        for part in tree_leaves(outputs):
            if isinstance(part, Tensor) and part.requires_grad:
                self.waiting = True
                part.register_hook(self._before_backward)
        return outputs

    def _before_backward(self, gradient: Tensor) -> None:
        """Gradients that are to be added to those of this batch move from where these are about to be written."""
        if self.waiting:
            self.waiting = False
            for parameter in self.net.parameters():
                if parameter.grad is not None:
                    parameter.grad = parameter.grad.clone()

    def _record(self, inputs: tuple[Tensor, ...]) -> Any:
        """Leaves running statistics and random numbers as they were; `inputs` are copied, since they are kept."""
        net, device = self.net, inputs[0].device
        buffers, state = [buffer.clone() for buffer in net.buffers()], torch.cuda.get_rng_state(device)
        hooks = net._forward_pre_hooks, net._forward_hooks
        net._forward_pre_hooks, net._forward_hooks = OrderedDict(), OrderedDict()
        net.forward = self.written
        dtype, enabled = torch.get_autocast_dtype("cuda"), torch.is_autocast_enabled("cuda")
        try:
            with torch.autocast("cuda", dtype, enabled, cache_enabled=False):  # what is kept would be freed in between
                own = tuple(part.detach().clone() for part in inputs)
                torch.cuda.make_graphed_callables(net, own, allow_unused_input=True)
            return net.forward
        finally:
            net.forward = self  # type: ignore[method-assign]
            net._forward_pre_hooks, net._forward_hooks = hooks
            for buffer, before in zip(net.buffers(), buffers, strict=True):
                buffer.copy_(before)
            torch.cuda.set_rng_state(state, device)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Recorded":
        return Recorded(copy.deepcopy(self.net, memo))
