"""The class of every pixel of images that are in no data set."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor

from project.callbacks.marks import class_colours
from project.data.decode import open_rgb
from project.errors import UserError
from project.runs.answers import show
from project.runs.image_prediction import find_images, normalised, tell
from project.runs.picture_output import PictureOutput
from project.runs.trained import Trained


def predict_masks(cfg: DictConfig, trained: Trained, device: torch.device) -> list[dict[str, Any]]:
    """Label the pixels of the image, or the images in the folder, `cfg.input`; write the masks into `cfg.out`.

    A mask has its image's size, and is a PNG with a palette: a pixel's value is its class's number.

    Returns:
        Per image: its path, the share of each class that is there, the largest first, and `mask`, where it was written.

    Raises:
        UserError: no such input, a place that cannot be written, or images that cannot be read; those that can are
            shown first.
    """
    given = Path(str(cfg.input))
    paths = find_images(given)
    output, failed = PictureOutput(cfg.out, given, paths), list[str]()

    def results() -> Iterator[list[dict[str, Any]]]:
        for path in paths:
            try:
                picture = open_rgb(path)
            except UserError as error:
                failed.append(str(error))
                continue
            yield [_labelled(trained, path, picture, device, output)]

    def row(result: dict[str, Any]) -> dict[str, str]:
        shares = "  ".join(f"{entry['class']} {entry['share']:.3f}" for entry in result["classes"][: cfg.top])
        return {"image": result["image"], "classes": shares, **({"mask": result["mask"]} if "mask" in result else {})}

    found = show(results(), cfg.format, row)
    tell(failed, len(paths))
    return found


def _labelled(
    trained: Trained, path: Path, picture: Image.Image, device: torch.device, output: PictureOutput
) -> dict[str, Any]:
    mask, classes = predicted_mask(trained, picture, device), trained.data["classes"]
    counts = np.bincount(mask.ravel(), minlength=len(classes)) / mask.size
    there = [number for number in np.argsort(-counts, kind="stable") if counts[number]]
    result: dict[str, Any] = {
        "image": str(path),
        "classes": [{"class": classes[number], "share": float(counts[number])} for number in there],
    }
    if output.wanted:
        drawn = Image.fromarray(mask, mode="P")
        drawn.putpalette(class_colours(len(classes)).tobytes())
        result["mask"] = output.write(path, drawn)
    return result


@torch.inference_mode()
def predicted_mask(trained: Trained, picture: Image.Image, device: torch.device) -> np.ndarray:
    """(H, W) uint8 of a whole picture of any size, which the network sees as large as those that it was trained on:
    resized until it just covers them, and nothing cut off."""
    _, height, width = trained.data["sizes"]["image_shape"]
    scale = max(height / picture.height, width / picture.width)
    size = max(width, round(picture.width * scale)), max(height, round(picture.height * scale))
    pixels = np.array(picture if picture.size == size else picture.resize(size, Image.Resampling.BILINEAR))
    images = normalised(torch.from_numpy(pixels).permute(2, 0, 1)[None], trained, device)
    logits = trained.task.to(device).predict(images)[0].float()
    return likeliest_classes(logits, picture.height, picture.width).cpu().numpy()


def likeliest_classes(logits: Tensor, height: int, width: int) -> Tensor:
    """(height, width) uint8 of logits (K, h, w), interpolated class by class: all at once would not fit for photographs
    of many classes."""
    best = logits.new_full((height, width), -torch.inf)
    found = torch.zeros(height, width, dtype=torch.uint8, device=logits.device)
    for number, own in enumerate(logits):
        if own.shape != best.shape:
            own = F.interpolate(own[None, None], size=(height, width), mode="bilinear", align_corners=False)[0, 0]
        better = own > best
        best = torch.where(better, own, best)
        found.masked_fill_(better, number)
    return found
