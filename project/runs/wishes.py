"""What of a trained network is to be excited: classes, channels of a layer, or a whole layer."""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from omegaconf import DictConfig, ListConfig
from torch import Tensor

from project.errors import UserError
from project.nets.dreaming import units, whole_layer
from project.nets.layers import map_layers, output_shapes
from project.nets.style_layers import default_layers
from project.runs import pictures
from project.runs.trained import Trained
from project.tasks.classification import ImageClassifier

MANY = 16  # classes or channels that are dreamed of unless some are named


@dataclass(frozen=True)
class Wish:
    """What is to be excited: `names` of N units, and from images (N, 3, H, W) how much they are, (N,)."""

    names: list[str]
    excitement: Callable[[Tensor], Tensor]
    layer: str | None  # None: classes

    @property
    def title(self) -> str:
        """Of the picture and of its file."""
        what = "class" if self.layer is None else self.layer
        return f"{what} {self.names[0]}" if len(self.names) == 1 else f"{what}: {len(self.names)}"


def wish_of(cfg: DictConfig, trained: Trained) -> Wish:
    """What `class`, `layer` and `channel` of a config ask for.

    Raises:
        UserError: they name what the run does not have.
    """
    net, layer = trained.task.net, cfg.layer
    if layer is not None and cfg["class"] is not None:
        raise UserError("class= and layer= are two things to dream of: choose one")
    if layer is None and cfg.channel is not None:
        raise UserError(f"channel={cfg.channel} of which layer? Add layer=<name>; list=true shows them")
    deep = cfg.input is not None and cfg["class"] is None
    if layer is None and not deep:
        names = classes_of(trained)
        if not names:
            shapes = output_shapes(net, trained.data["sizes"]["image_shape"])
            raise UserError(f"{trained.folder} has no classes to dream of: layer=<name>, of {', '.join(shapes)}")
        numbers = _numbers("class", cfg["class"], names)
        return Wish([names[number] for number in numbers], units(net, numbers), None)
    shapes = output_shapes(net, trained.data["sizes"]["image_shape"])
    mapped = output_shapes(net, trained.data["sizes"]["image_shape"], map_layers(net))
    if layer is None:
        layer = _deep_layer(trained, mapped)
    if layer not in shapes or len(shapes[layer]) not in (2, 4):
        raise pictures.unknown_layer("layer", str(layer), net, list(shapes))
    through = map_layers(net) if layer in mapped else net
    if cfg.channel is None and cfg.input is not None:
        return Wish(["whole"], whole_layer(net, layer, through), layer)
    numbers = _numbers("channel", cfg.channel, [str(number) for number in range(shapes[layer][1])])
    return Wish([f"channel {number}" for number in numbers], units(net, numbers, layer, through), layer)


def _deep_layer(trained: Trained, shapes: dict[str, tuple[int, ...]]) -> str:
    try:
        (content,), _ = default_layers(trained.task.net, shapes)
    except ValueError as error:
        raise UserError(f"{error}: name a layer=, of {', '.join(shapes)}") from error
    return content


def _numbers(key: str, given: Any, names: list[str]) -> list[int]:
    """Of one, several, or the first of `names`, each given by name or number."""
    if given is None:
        return list(range(min(MANY, len(names))))
    numbers = []
    for one in given if isinstance(given, ListConfig | list) else [given]:
        text = str(one)
        if text in names:
            numbers.append(names.index(text))
        elif text.isdecimal() and int(text) < len(names):
            numbers.append(int(text))
        elif key == "channel":
            raise UserError(f"channel={text}: the layer's channels are 0 to {len(names) - 1}")
        else:
            near = get_close_matches(text, names, n=3)
            meant = f" Did you mean {' or '.join(near)}?" if near else ""
            few = ", ".join(names[:50]) + (", ..." if len(names) > 50 else "")
            raise UserError(f"class={text} is none of the run's classes.{meant} They are: {few}")
    if not numbers:
        raise UserError(f"{key}=[] names none")
    return numbers


def classes_of(trained: Trained) -> list[str]:
    """The classes that a run has logits of; of an autoencoder none."""
    return list(trained.data["classes"]) if isinstance(trained.task, ImageClassifier) else []
