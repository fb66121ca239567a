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
    paths = find_images(Path(str(cfg.input)))
    failed: list[str] = []

    def batches() -> Iterator[list[dict[str, Any]]]:
        for start in range(0, len(paths), cfg.batch_size):
            yield _classify(trained, paths[start : start + cfg.batch_size], cfg.top, device, failed)

    found = show(batches(), cfg.format, lambda result: {"image": result["image"], **class_columns(result)})
    tell(failed, len(paths))
    return found


def find_images(path: Path) -> list[Path]:
    """The image `path`, or those at any depth of the folder, in the order of their names.

    Raises:
        UserError: nothing there, or no images.
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


def tell(failed: list[str], count: int) -> None:
    """A UserError that names the images of so many that cannot be read, if there are any."""
    if failed:
        sys.stdout.flush()
        raise UserError("\n".join([f"{len(failed)} of {count} images cannot be read:", *failed]))


def normalised(pixels: Tensor, trained: Trained, device: torch.device) -> Tensor:
    """Images (B, 3, H, W) uint8 as the run's network takes them, on its device."""
    mean, std = (torch.tensor(trained.data[name], device=device).view(-1, 1, 1) for name in ("mean", "std"))
    images = (pixels.to(device).float() / 255 - mean) / std
    return images.contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def _classify(
    trained: Trained, paths: list[Path], top: int, device: torch.device, failed: list[str]
) -> list[dict[str, Any]]:
    images, readable = read_images(trained, paths, device, failed)
    if not readable:
        return []
    logits = trained.task.to(device).predict(images)
    found = likeliest(logits, trained.data["classes"], top)
    return [{"image": str(path), **result} for path, result in zip(readable, found, strict=True)]


def read_images(
    trained: Trained, paths: list[Path], device: torch.device, failed: list[str]
) -> tuple[Tensor, list[Path]]:
    """Images (B, 3, H, W) as the run's network takes them, and the paths of those that can be read.

    Args:
        trained: the run.
        paths: of the images.
        device: where they are wanted.
        failed: takes the reason why an image cannot be read.
    """
    shape = trained.data["sizes"]["image_shape"]
    pixels: list[Tensor] = []
    readable: list[Path] = []
    for path in paths:
        try:
            pixels.append(read_image(path, shape))
            readable.append(path)
        except UserError as error:
            failed.append(str(error))
    whole = torch.stack(pixels) if pixels else torch.empty(0, *shape, dtype=torch.uint8)
    return normalised(whole, trained, device), readable
