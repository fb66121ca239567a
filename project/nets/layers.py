"""What the layers inside a network put out."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def output_shapes(
    net: nn.Module, image_shape: Sequence[int], through: Callable[[Tensor], Any] | None = None
) -> dict[str, tuple[int, ...]]:
    """The shape of each layer's output for one image (C, H, W), by name and in the order of the computation.

    `net` is in evaluation mode. Layers that put out something else than a tensor, or are not used, are left out.
    `through` is what is given the image, e.g. the network's `features` alone; None: the whole network.
    """
    weight = next(net.parameters())
    image = torch.zeros(1, *image_shape, device=weight.device, dtype=weight.dtype)
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str, output: Any) -> None:
        if isinstance(output, Tensor):
            shapes[name] = tuple(output.shape)

    with _watched(net, [name for name, _ in net.named_modules() if name], note):
        (through or net)(image)
    return shapes


def layer_outputs(
    net: nn.Module, names: Sequence[str], images: Tensor, through: Callable[[Tensor], Any] | None = None
) -> dict[str, Tensor]:
    """The outputs of the layers of these names, by name, as they were put out; of several calls, those of the last.

    `through` is what is given the images, e.g. the network's `features` alone; None: the whole network.
    """
    found: dict[str, Tensor] = {}

    def keep(name: str, output: Any) -> None:
        found[name] = output.clone()  # the next layer may work in place

    with _watched(net, names, keep):
        (through or net)(images)
    return found


def map_layers(net: nn.Module) -> Callable[[Tensor], Any]:
    """The part of `net` that takes images of any size: its `features`, an autoencoder's `encode`, else all of it."""
    for name in ("features", "encode"):
        if callable(part := getattr(net, name, None)):
            return part
    return net


@contextmanager
def _watched(net: nn.Module, names: Sequence[str], hear: Callable[[str, Any], None]) -> Iterator[None]:
    handles = [
        net.get_submodule(name).register_forward_hook(lambda _, __, output, name=name: hear(name, output))
        for name in names
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
