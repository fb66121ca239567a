"""Points in images that are in no data set."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from PIL import Image

from project.callbacks.marks import mark
from project.data.decode import fitted, kept_box, open_rgb
from project.errors import UserError
from project.runs.answers import show
from project.runs.image_prediction import find_images, normalised, tell
from project.runs.picture_output import PictureOutput
from project.runs.trained import Trained


def predict_points(cfg: DictConfig, trained: Trained, device: torch.device) -> list[dict[str, Any]]:
    """Find the points in the image, or the images in the folder, `cfg.input`; draw them into copies in `cfg.out`.

    Returns:
        Per image: its path, its points with their names, x and y in pixels of the image as it is (upright, (0, 0) the
        centre of the upper left one), and `drawn`, where it was drawn.

    Raises:
        UserError: no such input, a place that cannot be written, or images that cannot be read; those that can are
            shown first.
    """
    given = Path(str(cfg.input))
    paths = find_images(given)
    output, failed = PictureOutput(cfg.out, given, paths), list[str]()

    def batches() -> Iterator[list[dict[str, Any]]]:
        for start in range(0, len(paths), cfg.batch_size):
            yield _located(trained, paths[start : start + cfg.batch_size], device, output, failed)

    found = show(batches(), cfg.format, _row)
    tell(failed, len(paths))
    return found


def _row(result: dict[str, Any]) -> dict[str, str]:
    points = {point["point"]: f"{point['x']:.1f}, {point['y']:.1f}" for point in result["points"]}
    drawn = {"drawn": result["drawn"]} if "drawn" in result else {}
    return {"image": result["image"], **points, **drawn}


@torch.inference_mode()
def _located(
    trained: Trained, paths: list[Path], device: torch.device, output: PictureOutput, failed: list[str]
) -> list[dict[str, Any]]:
    _, height, width = trained.data["sizes"]["image_shape"]
    pictures: dict[Path, Image.Image] = {}
    for path in paths:
        try:
            pictures[path] = open_rgb(path)
        except UserError as error:
            failed.append(str(error))
    if not pictures:
        return []
    pixels = np.stack([fitted(picture, height, width) for picture in pictures.values()])
    images = normalised(torch.from_numpy(pixels).permute(0, 3, 1, 2), trained, device)
    located = trained.task.to(device).predict(images).cpu().numpy()  # (B, K, 2) in pixels of what the network sees
    results = []
    for (path, picture), points in zip(pictures.items(), located, strict=True):
        own = in_picture(points, picture.size, height, width)
        names = trained.data["points"]
        rows = [{"point": name, "x": x, "y": y} for name, (x, y) in zip(names, own.tolist(), strict=True)]
        result: dict[str, Any] = {"image": str(path), "points": rows}
        if output.wanted:
            mark(picture, own.tolist(), size=max(3.0, min(picture.size) / 40))
            result["drawn"] = output.write(path, picture)
        results.append(result)
    return results


def in_picture(points: np.ndarray, size: tuple[int, int], height: int, width: int) -> np.ndarray:
    """Points (K, 2) of a picture that was `fitted` to height x width, in pixels of the picture of that size (w, h)."""
    left, top, right, bottom = kept_box(size, height, width)
    scale = np.array([(right - left) / width, (bottom - top) / height])
    return np.array([left, top]) + (points.astype(np.float64) + 0.5) * scale - 0.5
