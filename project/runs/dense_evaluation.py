"""Tables of a test: of points by their names, and of the classes of pixels."""

from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device

from project.data.targeted import TargetedDataModule
from project.runs.trained import Trained
from project.tasks.regression import ALPHAS, Regression, correct
from project.tasks.segmentation import Segmentation, overlaps, pixel_confusion


@torch.inference_mode()
def point_rows(trained: Trained, data: TargetedDataModule, device: torch.device) -> list[dict[str, Any]]:
    """For each key point of the test set: how many are known, PCK at each alpha, the mean error in pixels."""
    task: Any = trained.task.to(device)
    assert isinstance(task, Regression)
    names = trained.data["points"]
    known, errors = torch.zeros(len(names)), torch.zeros(len(names), dtype=torch.float64)
    right = torch.zeros(len(ALPHAS), len(names))
    for batch in data.test_dataloader():
        images, points = move_data_to_device(batch, device)
        found = task.predict(images)
        known += (~points.isnan().any(2)).sum(0).cpu()
        right += correct(found, points, task.lengths(points, images)).sum(1).cpu()
        errors += (found - points).norm(dim=2).nan_to_num(0.0).double().sum(0).cpu()
    task.cpu()
    return [
        {
            "point": name,
            "images": int(known[k]),
            **{f"pck_{alpha}": (right[a, k] / known[k]).item() for a, alpha in enumerate(ALPHAS)},
            "error": (errors[k] / known[k]).item(),
        }
        for k, name in enumerate(names)
    ]


@torch.inference_mode()
def class_rows(trained: Trained, data: TargetedDataModule, device: torch.device) -> list[dict[str, Any]]:
    """For each class of the test set: its pixels, intersection over union, recall and precision.

    NaN: of a class that is not there, or was never predicted.
    """
    task: Any = trained.task.to(device)
    assert isinstance(task, Segmentation)
    counts = torch.zeros(task.num_classes, task.num_classes, dtype=torch.int64)
    for batch in data.test_dataloader():
        images, masks = move_data_to_device(batch, device)
        counts += pixel_confusion(task.predict(images).argmax(1), masks.long(), task.num_classes).cpu()
    task.cpu()
    both, either = (part.double() for part in overlaps(counts))
    true, predicted = counts.sum(1).double(), counts.sum(0).double()
    return [
        {
            "class": name,
            "pixels": int(true[k]),
            "iou": (both[k] / either[k]).item(),
            "recall": (both[k] / true[k]).item(),
            "precision": (both[k] / predicted[k]).item(),
        }
        for k, name in enumerate(trained.data["classes"])
    ]
