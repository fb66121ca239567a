"""Which layers of a network tell content and style, and its poolings (Gatys et al. 2016, sections 2 and 3)."""

from collections.abc import Mapping

from torch import nn

ACTIVATIONS = (nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.LeakyReLU, nn.ELU)


def default_layers(net: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> tuple[list[str], list[str]]:
    """Layers for the content and for the style, by their depth.

    The paper's for VGG (section 3), and for any other network what corresponds to them. Stages are the activations (or
    if the network has no modules for those, the convolutions) of one height and width. The style is taken from the
    first layer of each stage, the content from the second of the last stage but one; of two stages, of the last.

    Args:
        net: whose layers they are.
        shapes: of the layers' outputs in the order of the computation, see `project.nets.layers.output_shapes`.

    Raises:
        ValueError: there is no layer that puts out maps.
    """
    stages: dict[tuple[int, ...], list[str]] = {}
    for kinds in (ACTIVATIONS, (nn.Conv2d,)):
        for name, shape in shapes.items():
            if len(shape) == 4 and isinstance(net.get_submodule(name), kinds):
                stages.setdefault(shape[2:], []).append(name)
        if stages:
            break
    if not stages:
        raise ValueError(f"{type(net).__name__} has no layers that put out maps")
    members = list(stages.values())
    deep = members[-2] if len(members) > 2 else members[-1]
    return [deep[min(1, len(deep) - 1)]], [names[0] for names in members]


def with_average_pooling(net: nn.Module) -> int:
    """Put averages in the place of all max poolings, which gives slightly smoother pictures (section 2).

    Returns:
        How many there were; 0: none that is a module of its own.
    """
    found = [(parent, name) for parent in net.modules() for name, part in parent.named_children() if _is_max(part)]
    for parent, name in found:
        pool: nn.MaxPool2d = getattr(parent, name)
        setattr(parent, name, nn.AvgPool2d(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode))
    return len(found)


def _is_max(part: nn.Module) -> bool:
    return isinstance(part, nn.MaxPool2d)
