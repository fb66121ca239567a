"""What the layers inside a network put out."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def output_shapes(net: nn.Module, image_shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """The shape of each layer's output for one image (C, H, W), by name and in the order of the computation.

    `net` is in evaluation mode. Layers that put out something else than a tensor, or are not used, are left out.
    """
    weight = next(net.parameters())
    image = torch.zeros(1, *image_shape, device=weight.device, dtype=weight.dtype)
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str, output: Any) -> None:
        if isinstance(output, Tensor):
            shapes[name] = tuple(output.shape)

    with _watched(net, [name for name, _ in net.named_modules() if name], note):
        net(image)
    return shapes


def layer_outputs(net: nn.Module, names: Sequence[str], images: Tensor) -> dict[str, Tensor]:
    """The outputs of the layers of these names, by name, as they were put out; of several calls, those of the last."""
    found: dict[str, Tensor] = {}

    def keep(name: str, output: Any) -> None:
        found[name] = output.clone()  # the next layer may work in place

    with _watched(net, names, keep):
        net(images)
    return found


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
