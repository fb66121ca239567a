"""Classes and probabilities of images that are in no data set."""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from project.data.files import ENDINGS
from project.data.images import read_image
from project.errors import UserError
from project.runs.tables import table
from project.runs.trained import Trained, device_for, load_run
from project.tasks.classification import ImageClassifier


def run_prediction(cfg: DictConfig) -> list[dict[str, Any]]:
    """Classify the image, or the images in the folder, `cfg.input`, and print a table or JSON lines.

    Returns:
        Per image: its path, the likeliest class, that class's probability, and the `cfg.top` likeliest with theirs.

    Raises:
        UserError: no such run or input, or images that cannot be read; those that can are shown first.
    """
    if cfg.format not in ("table", "jsonl"):
        raise UserError(f"format={cfg.format} is unknown: choose table or jsonl")
    if not isinstance(cfg.top, int) or cfg.top < 1:
        raise UserError(f"top must be a whole number of at least 1, got {cfg.top}")
    if not isinstance(cfg.batch_size, int) or cfg.batch_size < 1:
        raise UserError(f"batch_size must be a whole number of at least 1, got {cfg.batch_size}")
    if not str(cfg.input).strip():
        raise UserError("input= is empty: name an image or a folder of images")
    paths = _images(Path(str(cfg.input)))
    trained = load_run(str(cfg.run), cfg.outputs, cfg.checkpoint)
    if not isinstance(trained.task, ImageClassifier):
        raise UserError(f"{trained.folder} is a {type(trained.task).__name__}, and only classifiers tell classes")
    device = device_for(cfg.accelerator)
    found: list[dict[str, Any]] = []
    failed: list[str] = []
    for start in range(0, len(paths), cfg.batch_size):
        results = _classify(trained, paths[start : start + cfg.batch_size], cfg.top, device, failed)
        found += results
        if cfg.format == "jsonl":
            for result in results:
                print(json.dumps(result, ensure_ascii=False), flush=True)
    if cfg.format == "table" and found:
        print(table([_row(result) for result in found]))
    if failed:
        sys.stdout.flush()
        raise UserError("\n".join([f"{len(failed)} of {len(paths)} images cannot be read:", *failed]))
    return found


def _images(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"input={path} does not exist: name an image or a folder of images")
    files = (file for file in path.rglob("*") if file.name.lower().endswith(ENDINGS) and file.is_file())
    images = sorted(file for file in files if not file.name.startswith("."))
    if not images:
        raise UserError(f"input={path} holds no images (files that end in {', '.join(ENDINGS)})")
    return images


@torch.inference_mode()
def _classify(
    trained: Trained, paths: list[Path], top: int, device: torch.device, failed: list[str]
) -> list[dict[str, Any]]:
    pixels: list[Tensor] = []
    readable: list[Path] = []
    for path in paths:
        try:
            pixels.append(read_image(path, trained.data["sizes"]["image_shape"]))
            readable.append(path)
        except UserError as error:
            failed.append(str(error))
    if not pixels:
        return []
    mean, std = (torch.tensor(trained.data[name], device=device).view(-1, 1, 1) for name in ("mean", "std"))
    images = (torch.stack(pixels).to(device).float() / 255 - mean) / std  # (B, 3, H, W)
    logits = trained.task.net.to(device)(images.contiguous(memory_format=torch.channels_last))
    probabilities = logits.cpu().double().softmax(1)  # (B, K)
    classes = trained.data["classes"]
    values, labels = probabilities.topk(min(top, len(classes)), dim=1)
    return [
        {
            "image": str(path),
            "class": classes[own_labels[0]],
            "probability": own_values[0],
            "top": [
                {"class": classes[label], "probability": value}
                for label, value in zip(own_labels, own_values, strict=True)
            ],
        }
        for path, own_labels, own_values in zip(readable, labels.tolist(), values.tolist(), strict=True)
    ]


def _row(result: dict[str, Any]) -> dict[str, str]:
    others = "  ".join(f"{entry['class']} {entry['probability']:.3f}" for entry in result["top"][1:])
    return {
        "image": result["image"],
        "class": result["class"],
        "probability": f"{result['probability']:.3f}",
        "then": others,
    }
