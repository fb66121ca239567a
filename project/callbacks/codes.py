"""An autoencoder's codes in TensorBoard's Projector."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Trainer
from PIL import Image
from tensorboard.plugins.projector import EmbeddingInfo, ProjectorConfig
from torch import Tensor, nn

from project.callbacks.drawing import Drawing
from project.callbacks.fixed_images import answer
from project.callbacks.tiles import pixels_of
from project.callbacks.verbatim import visible
from project.data.images import ImageDataModule
from project.tasks.classification import ImageClassifier
from project.tasks.reconstruction import Reconstruction

CONFIG, FOLDER = "projector_config.pbtxt", "projector"  # the first is where TensorBoard looks
THUMBNAIL, SHEET = 32, 8192  # sides of a thumbnail, and of the largest picture of them all that TensorBoard takes


class Codes(Drawing):
    """The codes of images of the validation in the Projector, each with a thumbnail and its class.

    The latest take the place of those before them. A TensorBoard that shows the Projector already keeps what it has
    read until it is started again.

    Asked for by name, it shows of classifiers the features that the last linear layer is given.

    Args:
        count: images, spread evenly over the classes.
        every_n_validations: see `Drawing`, as for `where_it_fits`.

    Raises:
        ValueError: an argument out of range.
        UserError: in `setup`: the task has no codes.
    """

    def __init__(self, count: int = 500, every_n_validations: int | None = None, where_it_fits: bool = False) -> None:
        super().__init__(every_n_validations, where_it_fits)
        most = (SHEET // THUMBNAIL) ** 2
        if not 2 <= count <= most:
            raise ValueError(f"callbacks.codes.count must be from 2 to {most} images, got {count}")
        self.count = count
        self.described = False  # labels and thumbnails are written

    def misfit(self, trainer: Trainer, task: Any) -> str | None:
        if isinstance(task, Reconstruction) and hasattr(task.net, "encode"):
            return None
        if isinstance(task, ImageClassifier) and not self.where_it_fits and last_linear(task.net) is not None:
            return None
        return f"shows an autoencoder's codes, and this is a {type(task).__name__} of a {type(task.net).__name__}"

    def draw(self, trainer: Trainer, task: Any, writer: Any, step: int) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        run = Path(writer.log_dir)
        (run / FOLDER).mkdir(exist_ok=True)
        codes, thumbnails, labels = [], [], []
        for images, own in data.examples("val", self.count):
            codes.append(answer(trainer, lambda x: encoded(task.net, x), images).flatten(1).cpu())
            if not self.described:
                thumbnails.append(_thumbnails(images, data))
                labels += own.tolist()
        _replace(run / FOLDER / "codes.tsv", table(torch.cat(codes)))
        if not self.described:
            names = [_line(data.classes[label]) for label in labels]
            _replace(run / FOLDER / "classes.tsv", "".join(f"{name}\n" for name in names))
            sheet(np.concatenate(thumbnails)).save(run / FOLDER / "images.png")
            _replace(run / CONFIG, str(_config(thumbnails[0].shape)))
            self.described = True


def encoded(net: Any, images: Tensor) -> Tensor:
    """The code of an autoencoder; otherwise what the last linear layer is given."""
    if hasattr(net, "encode"):
        return net.encode(images)
    layer = last_linear(net)
    assert layer is not None
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        net(images)
    finally:
        handle.remove()
    return seen[-1]


def last_linear(net: nn.Module) -> nn.Linear | None:
    """The linear layer that was made last."""
    return next((module for module in reversed([*net.modules()]) if isinstance(module, nn.Linear)), None)


def table(codes: Tensor) -> str:
    """Rows of numbers between tabs, as the Projector reads them; codes (N, D)."""
    line = "\t".join(["%.5g"] * codes.shape[1]) + "\n"
    return "".join(line % tuple(row) for row in codes.tolist())


def sheet(thumbnails: np.ndarray) -> Image.Image:
    """Thumbnails (N, h, w, 3) row by row in a picture with as many columns as rows."""
    number, height, width, channels = thumbnails.shape
    side = int(np.ceil(np.sqrt(number)))
    places = np.full((side * side, height, width, channels), 255, np.uint8)
    places[:number] = thumbnails
    rows = places.reshape(side, side, height, width, channels).transpose(0, 2, 1, 3, 4)
    return Image.fromarray(rows.reshape(side * height, side * width, channels))


def _thumbnails(images: Tensor, data: ImageDataModule) -> np.ndarray:
    pixels = pixels_of(images, data.mean, data.std)
    if max(pixels.shape[1:3]) <= THUMBNAIL:
        return pixels
    small = [Image.fromarray(image).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX) for image in pixels]
    return np.stack([np.asarray(image) for image in small])


def _config(shape: tuple[int, ...]) -> ProjectorConfig:
    embedding = EmbeddingInfo(
        tensor_name="codes", tensor_path=f"{FOLDER}/codes.tsv", metadata_path=f"{FOLDER}/classes.tsv"
    )
    embedding.sprite.image_path = f"{FOLDER}/images.png"
    embedding.sprite.single_image_dim.extend([shape[2], shape[1]])
    return ProjectorConfig(embeddings=[embedding])


def _line(name: str) -> str:
    """A class's name as one cell of a table."""
    return visible(" ".join(name.split())) or "(no name)"


def _replace(path: Path, text: str) -> None:
    """Whole or not at all: a TensorBoard may read it meanwhile."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
