"""A picture in the style of another, by the features of a trained network."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, ListConfig
from PIL import Image
from torch import Tensor, nn

from project.callbacks.tiles import pixels_of
from project.errors import UserError
from project.nets.descent import Descent
from project.nets.layers import layer_outputs, map_layers
from project.nets.style import Losses, Objective
from project.nets.style_layers import default_layers, with_average_pooling
from project.runs import pictures
from project.runs.speed import device_for
from project.runs.trained import Trained, load_run

MOST = 256  # pixels of the longer side unless size= says


@dataclass(frozen=True)
class Eye:
    """The network that looks at pictures, on its device, and what its training images were normalised with, (3,)."""

    net: nn.Module
    mean: Tensor
    std: Tensor
    run: Trained | None  # None: published weights


def run_style(cfg: DictConfig) -> Path:
    """Make `cfg.content` in the style of `cfg.style`, show how far it is, and write a PNG.

    Returns:
        The PNG.

    Raises:
        UserError: no such run, layer or picture, a network without convolutions, or an option out of range.
        Stopped: a signal came; what there was has been written.
    """
    descent = _descent(cfg)
    out = pictures.checked_out(cfg.out)
    content = pictures.read_picture(cfg.content, cfg.size, MOST)
    style = pictures.read_picture(cfg.style, cfg.style_size or max(content.size))
    eye = _eye(cfg)
    black, white = -eye.mean / eye.std, (1 - eye.mean) / eye.std
    targets = [pictures.normalised(picture, eye.mean, eye.std) for picture in (content, style)]
    objective = _objective(cfg, eye, *targets)
    start = targets[0]
    if cfg.start == "noise":
        drawn = torch.rand(start.shape, generator=torch.Generator().manual_seed(cfg.seed)).to(start.device)
        start = black[:, None, None] + drawn / eye.std[:, None, None]
    steps = descent(objective, start, black, white)
    (pixels, losses), count, asked = pictures.watched(steps, descent.steps, lambda step: _told(step[1]))
    if not losses.total.isfinite():
        raise UserError(f"the loss is {losses.total:g} after {count} steps: choose method=adam, or smaller weights")
    picture = Image.fromarray(pixels_of(pixels, eye.mean.tolist(), eye.std.tolist())[0])
    path = out or _own_place(cfg, eye)
    pictures.write_png(picture, path)
    if out is None and eye.run is not None:
        pictures.show_in_tensorboard(eye.run.folder, f"style/{path.stem}", picture, eye.run.step)
    pictures.stop_if_asked(asked, count, descent.steps, path)
    print(f"picture: {path}")
    return path


def _told(losses: Losses) -> str:
    return f"content {losses.content:.4g}  style {losses.style:.4g}  total {losses.total:.4g}"


def _descent(cfg: DictConfig) -> Descent:
    for key, least in (("steps", 1), ("seed", 0)):
        pictures.whole(cfg, key, least)
    for key in ("size", "style_size"):
        pictures.whole(cfg, key, 1, null=True)
    for key in ("alpha", "beta", "variation", "rate"):
        pictures.number(cfg, key)
    for key, choices in (("start", ("content", "noise")), ("pooling", ("max", "average"))):
        if cfg[key] not in choices:
            raise UserError(f"{key} must be {' or '.join(choices)}, got {cfg[key]}")
    if (cfg.run is None) == (cfg.weights is None):
        raise UserError("whose features? Give run=<folder> (or latest), or weights=torchvision:vgg19, and not both")
    try:
        return Descent(cfg.steps, cfg.method, cfg.rate)
    except ValueError as error:
        raise UserError(str(error)) from error


def _eye(cfg: DictConfig) -> Eye:
    device = device_for(cfg.accelerator)
    if cfg.run is not None:
        trained = load_run(str(cfg.run), cfg.outputs, cfg.checkpoint)
        net, name = trained.task.net, f"the {type(trained.task.net).__name__} of {trained.folder}"
        if not any(isinstance(part, nn.Conv2d) for part in net.modules()) or "mean" not in trained.data:
            raise UserError(f"{name} has no convolutions that look at pictures: name a run of a ConvNet")
        mean, std = trained.data["mean"], trained.data["std"]
    else:
        from project.runs.torchvision_weights import published_network

        trained, name = None, str(cfg.weights)
        net, mean, std = published_network(name)
    net = copy.deepcopy(net).requires_grad_(False).to(device)
    if cfg.pooling == "average" and not with_average_pooling(net):
        raise UserError(f"pooling=average: {name} has no max pooling that could be replaced")
    return Eye(net, torch.tensor(mean, device=device), torch.tensor(std, device=device), trained)


def _objective(cfg: DictConfig, eye: Eye, content: Tensor, style: Tensor) -> Objective:
    net, look = eye.net, map_layers(eye.net)
    shapes = {
        name: shape
        for name, shape in pictures.layer_shapes(net, tuple(content.shape[1:])).items()
        if len(shape) == 4 and shape[2] * shape[3] > 0
    }
    pictures.layer_shapes(net, tuple(style.shape[1:]))
    try:
        content_layers, style_layers = default_layers(net, shapes)
    except ValueError as error:
        raise UserError(str(error)) from error
    content_layers = _named("content_layers", cfg.content_layers, content_layers, net, list(shapes))
    style_layers = _named("style_layers", cfg.style_layers, style_layers, net, list(shapes))
    names = list(dict.fromkeys([*content_layers, *style_layers]))
    print(f"content of {', '.join(content_layers)}; style of {', '.join(style_layers)}")
    return Objective(
        lambda images: layer_outputs(net, names, images, look),
        content,
        style,
        content_layers,
        style_layers,
        cfg.alpha,
        cfg.beta,
        cfg.variation,
    )


def _named(key: str, given: Any, default: list[str], net: nn.Module, known: Sequence[str]) -> list[str]:
    if given is None:
        return default
    names = [str(name) for name in given] if isinstance(given, ListConfig | list) else [str(given)]
    if not names:
        raise UserError(f"{key}=[] names no layer: leave it out, or choose from {', '.join(known)}")
    for name in names:
        if name not in known:
            raise pictures.unknown_layer(key, name, net, list(known))
    return names


def _own_place(cfg: DictConfig, eye: Eye) -> Path:
    name = f"{Path(cfg.content).stem}-{Path(cfg.style).stem}"
    return pictures.new_png((eye.run.folder if eye.run else Path(cfg.outputs).absolute()) / "styles", name)
