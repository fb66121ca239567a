"""Pictures that excite units of a trained network."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor

from project.callbacks.tiles import grid, pixels_of, sized
from project.data.decode import fitted
from project.errors import UserError
from project.nets.dreaming import Dreamer
from project.nets.layers import map_layers, output_shapes
from project.runs import pictures
from project.runs.speed import device_for
from project.runs.tables import table
from project.runs.trained import Trained, load_run
from project.runs.wishes import Wish, classes_of, wish_of
from project.tasks.classification import ImageClassifier
from project.tasks.reconstruction import Reconstruction

LAYER_SIZE, MOST = 96, 256  # pixels of a dream of a layer; of a picture's longer side unless size= says
OF_NOISE: dict[str, Any] = {"steps": 128, "blur": 0.2}
OF_PICTURES: dict[str, Any] = {"steps": 10, "blur": 0.02}  # few, so that the picture can still be seen
SINGLE = 256  # pixels to which the only dream is enlarged at least


def run_dream(cfg: DictConfig) -> Path | None:
    """Dream as `cfg` says, show how far it is, and write a PNG.

    Returns:
        The PNG; None: the units were only listed.

    Raises:
        UserError: no such run, class, layer, channel or picture, a run that sees no images, or an option out of range.
        Stopped: a signal came; what there was has been written.
    """
    dreamer, out = _dreamer(cfg), pictures.checked_out(cfg.out)
    trained = load_run(str(cfg.run), cfg.outputs, cfg.checkpoint)
    if not isinstance(trained.task, ImageClassifier | Reconstruction):
        raise UserError(
            f"{trained.folder} is a {type(trained.task).__name__}, whose network sees no images to dream of"
        )
    device = device_for(cfg.accelerator)
    trained.task.to(device).requires_grad_(False)
    if cfg.list:
        print(_units(trained))
        return None
    wish = wish_of(cfg, trained)
    mean, std = (torch.tensor(trained.data[name], device=device) for name in ("mean", "std"))
    start = _start(cfg, trained, wish, mean, std)
    shape = (len(wish.names), *start[0].shape) if start is not None else (len(wish.names), *_shape(cfg, trained, wish))
    _check_sizes(trained, wish, dreamer, shape, device)
    ascent = dreamer.ascend(
        wish.excitement, shape, -mean / std, (1 - mean) / std, None if start is None else start.expand(shape)
    )
    total = dreamer.steps * dreamer.octaves
    (images, _), count, asked = pictures.watched(ascent, total, lambda step: f"activation {step[1].mean():.4g}")
    with torch.no_grad():
        reached = _reached(trained, wish, images)
    picture = _picture(pixels_of(images, trained.data["mean"], trained.data["std"]), wish, reached)
    path = out or pictures.new_png(trained.folder / "dreams", wish.title)
    pictures.write_png(picture, path)
    if out is None:
        pictures.show_in_tensorboard(trained.folder, f"dream/{wish.title}", picture, trained.step)
    print(table([{"unit": name, "reached": value} for name, value in zip(wish.names, reached, strict=True)]))
    pictures.stop_if_asked(asked, count, total, path)
    print(f"dream: {path}")
    return path


def _dreamer(cfg: DictConfig) -> Dreamer:
    for key, least, null in (("steps", 1, True), ("octaves", 1, True), ("jitter", 0, False), ("seed", 0, False)):
        pictures.whole(cfg, key, least, null)
    pictures.whole(cfg, "size", 1, null=True)
    for key in ("rate", "octave_scale", *(["blur"] if cfg.blur is not None else [])):
        pictures.number(cfg, key)
    usual = OF_NOISE if cfg.input is None else OF_PICTURES
    steps, blur = (usual[key] if cfg[key] is None else cfg[key] for key in ("steps", "blur"))
    octaves = cfg.octaves or (1 if cfg["class"] is not None or (cfg.layer is None and cfg.input is None) else 3)
    try:
        return Dreamer(steps, cfg.rate, cfg.jitter, blur, cfg.seed, octaves, cfg.octave_scale)
    except ValueError as error:
        raise UserError(str(error)) from error


def _units(trained: Trained) -> str:
    """The classes and the layers that there are to dream of."""
    rows = [
        {"layer": name, "channels": shape[1], "puts out": "x".join(map(str, shape[2:])) or "numbers"}
        for name, shape in output_shapes(trained.task.net, trained.data["sizes"]["image_shape"]).items()
        if len(shape) in (2, 4)
    ]
    classes = classes_of(trained)
    said = f"classes: {', '.join(f'{i} {name}' for i, name in enumerate(classes))}\n\n" if classes else ""
    return said + table(rows)


def _shape(cfg: DictConfig, trained: Trained, wish: Wish) -> tuple[int, ...]:
    """(3, H, W) of a dream that begins with noise."""
    own = tuple(trained.data["sizes"]["image_shape"])
    if cfg.size is not None:
        return (own[0], cfg.size, cfg.size)
    net = trained.task.net
    if wish.layer is None or wish.layer not in output_shapes(net, own, map_layers(net)) or map_layers(net) is net:
        return own
    return (own[0], max(LAYER_SIZE, own[1]), max(LAYER_SIZE, own[2]))


def _start(cfg: DictConfig, trained: Trained, wish: Wish, mean: Tensor, std: Tensor) -> Tensor | None:
    """(1, 3, H, W): the picture, for a class cut to what the network was trained on, unless a size is asked for."""
    if cfg.input is None:
        return None
    if wish.layer is None and cfg.size is None:
        _, height, width = trained.data["sizes"]["image_shape"]
        return pictures.normalised(fitted(pictures.read_picture(cfg.input, None), height, width), mean, std)
    return pictures.normalised(pictures.read_picture(cfg.input, cfg.size, MOST), mean, std)


def _check_sizes(trained: Trained, wish: Wish, dreamer: Dreamer, shape: tuple[int, ...], device: torch.device) -> None:
    """Whether the network takes images of each octave's size; a UserError if not."""
    for height, width in dreamer.sizes(shape[2:]):
        try:
            with torch.no_grad():
                wish.excitement(torch.zeros(*shape[:2], height, width, device=device))
        except RuntimeError as error:
            net, own = type(trained.task.net).__name__, trained.data["sizes"]["image_shape"]
            raise UserError(
                f"{net} takes no picture of {width}x{height} pixels, at least not as far as "
                f"{wish.layer or 'its classes'}; it was trained on {own[2]}x{own[1]}. "
                "Choose size= and octaves= to fit it, or a layer= that comes earlier"
            ) from error


def _reached(trained: Trained, wish: Wish, images: Tensor) -> list[str]:
    """What the units say of their images."""
    values = wish.excitement(images).tolist()
    if wish.layer is not None:
        return [f"{value:.4g}" for value in values]
    shares = trained.task.net(images).softmax(1)
    places = [classes_of(trained).index(name) for name in wish.names]
    return [f"{value:.3g}, {shares[i, place]:.1%}" for i, (value, place) in enumerate(zip(values, places, strict=True))]


def _picture(pixels: np.ndarray, wish: Wish, reached: list[str]) -> Image.Image:
    """One dream alone, several beside each other with their names and what they reached."""
    if len(pixels) == 1:
        return Image.fromarray(sized(pixels[0], least=SINGLE, most=max(pixels.shape)))
    captions = [f"{name}\n{value}" for name, value in zip(wish.names, reached, strict=True)]
    tiles = [sized(one, least=96, most=max(pixels.shape)) for one in pixels]
    return grid(tiles, 5 if len(tiles) <= 10 else 8, captions, title=wish.layer or "classes")
