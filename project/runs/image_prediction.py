"""Classes and probabilities of images that are in no data set."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from project.data.files import ENDINGS
from project.data.images import read_image
from project.errors import UserError
from project.runs.answers import class_columns, likeliest, show
from project.runs.trained import Trained


def predict_images(cfg: DictConfig, trained: Trained, device: torch.device) -> list[dict[str, Any]]:
    """Classify the image, or the images in the folder, `cfg.input`.

    Returns:
        Per image: its path, the likeliest class, that class's probability, and the `cfg.top` likeliest with theirs.

    Raises:
        UserError: no such input, or images that cannot be read; those that can are shown first.
    """
    paths = image_files(Path(str(cfg.input)))
    failed: list[str] = []
    trained.task.to(device)

    def batches() -> Iterator[list[dict[str, Any]]]:
        for start in range(0, len(paths), cfg.batch_size):
            readable, images = read_images(trained, paths[start : start + cfg.batch_size], device, failed)
            yield _classify(trained, readable, images, cfg.top) if readable else []

    found = show(batches(), cfg.format, lambda result: {"image": result["image"], **class_columns(result)})
    tell_of(failed, len(paths))
    return found


def tell_of(failed: list[str], total: int) -> None:
    """A UserError that names the images which could not be read, if there are any."""
    if failed:
        sys.stdout.flush()
        raise UserError("\n".join([f"{len(failed)} of {total} images cannot be read:", *failed]))


def image_files(path: Path) -> list[Path]:
    """The image, or the images in the folder, `path`.

    Raises:
        UserError: there is none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"input={path} does not exist: name an image or a folder of images")
    files = (file for file in path.rglob("*") if file.name.lower().endswith(ENDINGS) and file.is_file())
    images = sorted(file for file in files if not file.name.startswith("."))
    if not images:
        raise UserError(f"input={path} holds no images (files that end in {', '.join(ENDINGS)})")
    return images


def read_images(
    trained: Trained, paths: list[Path], device: torch.device, failed: list[str]
) -> tuple[list[Path], Tensor]:
    """The images that can be read, and what the network is given of them: (B, 3, H, W), normalised as in its run.

    Args:
        trained: the run.
        paths: of the images.
        device: where the batch is to be.
        failed: gets a line for each image that cannot be read.
    """
    pixels: list[Tensor] = []
    readable: list[Path] = []
    for path in paths:
        try:
            pixels.append(read_image(path, trained.data["sizes"]["image_shape"]))
            readable.append(path)
        except UserError as error:
            failed.append(str(error))
    if not pixels:
        return [], torch.empty(0)
    mean, std = (torch.tensor(trained.data[name], device=device).view(-1, 1, 1) for name in ("mean", "std"))
    images = (torch.stack(pixels).to(device).float() / 255 - mean) / std
    return readable, images.contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def _classify(trained: Trained, paths: list[Path], images: Tensor, top: int) -> list[dict[str, Any]]:
    found = likeliest(trained.task.predict(images), trained.data["classes"], top)
    return [{"image": str(path), **result} for path, result in zip(paths, found, strict=True)]
