"""Batch normalisation over the whole global batch where its parts lie on the CPUs of several processes.

torch's `SyncBatchNorm` computes on GPUs alone.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.plugins.layer_sync import LayerSync
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm


class SyncedBatchNorm(_BatchNorm):
    """The mean and variance of all ranks' samples (Ioffe and Szegedy 2015, algorithm 1), with gradients through both.

    It stands in for a layer whose parameters and buffers it shares.
    """

    def __init__(self, layer: _BatchNorm) -> None:
        super().__init__(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
        self.__dict__["layer"] = layer  # beside the modules, so that the network's parts keep their names
        self._parameters, self._buffers = layer._parameters, layer._buffers
        self.train(layer.training)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"batch normalisation takes (N, C, ...), got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) of this rank to the same shape."""
        self._check_input_dim(input)
        if not self.training and self.running_mean is not None:
            return super().forward(input)
        places = [0, *range(2, input.dim())]  # all but the channels
        shape = [1, -1] + [1] * (input.dim() - 2)
        wide = input.float()
        own = wide.new_full((1,), input.numel() / input.shape[1])
        totals = all_reduce(torch.cat([wide.sum(places), own]))  # (C + 1,)
        mean, count = totals[:-1] / totals[-1], totals[-1].detach()
        centred = wide - mean.view(shape)
        variance = all_reduce(centred.square().sum(places)) / count
        self._keep(mean.detach(), variance.detach() * (count / (count - 1)))
        normed = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normed = normed * self.weight.view(shape) + self.bias.view(shape)
        return normed.to(input.dtype)

    def _keep(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        rate = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), rate)
        self.running_var.lerp_(variance.to(self.running_var.dtype), rate)


class CpuSyncBatchNorm(LayerSync):
    """Puts `SyncedBatchNorm` in the place of a network's batch normalisation while it is trained."""

    def apply(self, model: nn.Module) -> nn.Module:
        if dist.is_initialized():
            self._replace(model, _BatchNorm, SyncedBatchNorm)
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        self._replace(model, SyncedBatchNorm, lambda layer: layer.layer.train(layer.training))
        return model

    def _replace(self, model: nn.Module, kind: type[nn.Module], make: Callable[[Any], nn.Module]) -> None:
        for name, child in list(model.named_children()):
            if isinstance(child, kind):
                setattr(model, name, make(child))
            else:
                self._replace(child, kind, make)
