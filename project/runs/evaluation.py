"""Test metrics of trained runs, class by class, and of their ensemble."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, ListConfig
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torchmetrics.functional.classification import multiclass_confusion_matrix

from project.callbacks.pictures import confusion_figure
from project.data.images import ImageDataModule
from project.errors import UserError
from project.runs.building import build_data
from project.runs.folder import write_json
from project.runs.quiet import quiet
from project.runs.tables import table
from project.runs.trained import Trained, device_for, load_run
from project.tasks.classification import ImageClassifier


def run_evaluation(cfg: DictConfig) -> dict[str, Any]:
    """Test each of the runs of `cfg.run`, show what was found, and write it into the runs' folders.

    Returns:
        The metrics by run folder; of several classifiers also those of the `ensemble`, whose probabilities are the
        mean of theirs.

    Raises:
        UserError: a run that is none, or runs whose test sets differ.
    """
    names = list(cfg.run) if isinstance(cfg.run, ListConfig) else [cfg.run]
    if not names:
        raise UserError("run=[] names no run")
    device = device_for(cfg.accelerator)
    results: dict[str, Any] = {}
    predicted: list[Tensor] = []
    seen: dict[str, Trained] = {}  # by what their test images are
    labels = torch.empty(0)
    with quiet():
        for name in names:
            trained = load_run(str(name), cfg.outputs, cfg.checkpoint)
            data = build_data(trained.cfg)
            seen.setdefault(_digest(data), trained)
            if len(seen) > 1:
                one, other = (run.folder for run in seen.values())
                raise UserError(f"{one} and {other} have other test images, so they cannot be compared")
            if not isinstance(trained.task, ImageClassifier):
                results[str(trained.folder)] = _losses(trained, data, device)
            else:
                probabilities, labels = _probabilities(trained, data, device)
                results[str(trained.folder)] = _classified(trained, probabilities, labels, show=len(names) == 1)
                predicted.append(probabilities)
        if len(predicted) > 1:
            results["ensemble"] = scores(torch.stack(predicted).mean(0), labels)
    print(table([{"run": run, **found} for run, found in results.items()]))
    return results


def scores(probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracies and loss. Shapes: probabilities (N, K), labels (N,)."""
    likeliest = probabilities.topk(min(5, probabilities.shape[1]), dim=1).indices  # (N, 5)
    own = probabilities.gather(1, labels[:, None]).clamp_min(torch.finfo(probabilities.dtype).tiny)
    return {
        "test/accuracy": (probabilities.argmax(1) == labels).double().mean().item(),
        "test/loss": -own.log().mean().item(),
        "test/top5_accuracy": (likeliest == labels[:, None]).any(1).double().mean().item(),
    }


@torch.inference_mode()
def _probabilities(trained: Trained, data: ImageDataModule, device: torch.device) -> tuple[Tensor, Tensor]:
    """(N, K) float64 probabilities and (N,) labels of the test set."""
    net = trained.task.net.to(device)
    parts = [(net(images.to(device)).cpu().double().softmax(1), labels) for images, labels in data.test_dataloader()]
    trained.task.cpu()
    return torch.cat([part for part, _ in parts]), torch.cat([labels.cpu() for _, labels in parts])


@torch.inference_mode()
def _losses(trained: Trained, data: ImageDataModule, device: torch.device) -> dict[str, float]:
    """The test means of a task's own measures."""
    task = trained.task.to(device)
    totals, count = torch.zeros(len(task.measures), dtype=torch.float64), 0
    for batch in data.test_dataloader():
        _, sums, samples = task.measure([part.to(device) for part in batch], "test")
        totals += torch.stack([value.cpu().double() for value in sums])
        count += samples
    found = {f"test/{name}": value for name, value in zip(task.measures, (totals / count).tolist(), strict=True)}
    write_json(_evaluation_folder(trained) / "metrics.json", found)
    return found


def _classified(trained: Trained, probabilities: Tensor, labels: Tensor, show: bool) -> dict[str, float]:
    """Write the metrics, the table per class and the confusion matrix; the metrics."""
    classes = trained.data["classes"]
    confusion = multiclass_confusion_matrix(
        probabilities.argmax(1), labels, num_classes=len(classes)
    )  # true, predicted
    rows = _per_class(confusion, classes)
    found = scores(probabilities, labels)
    folder = _evaluation_folder(trained)
    write_json(folder / "metrics.json", {**found, "classes": rows, "confusion": confusion.tolist()})
    figure = confusion_figure(confusion, classes)
    figure.savefig(folder / "confusion.png", dpi=120)
    with SummaryWriter(str(trained.folder)) as writer:
        writer.add_figure("test/confusion_matrix", figure, trained.step)
        writer.add_text("test/classes", table(rows, markdown=True), trained.step)
    if show:
        print(
            table(
                [
                    {key: f"{value:.4f}" if isinstance(value, float) else value for key, value in row.items()}
                    for row in rows
                ]
            )
        )
        print(f"confusion matrix: {folder / 'confusion.png'}, and in TensorBoard under Images\n")
    return found


def _per_class(confusion: Tensor, classes: list[str]) -> list[dict[str, Any]]:
    """Recall, precision and F1 of each class from the (K, K) counts, rows true and columns predicted."""
    hits, true, predicted = confusion.diag().double(), confusion.sum(1).double(), confusion.sum(0).double()
    recall, precision = hits / true.clamp_min(1), hits / predicted.clamp_min(1)
    f1 = 2 * hits / (true + predicted).clamp_min(1)
    return [
        {
            "class": name,
            "images": int(true[i]),
            "recall": recall[i].item(),
            "precision": precision[i].item(),
            "f1": f1[i].item(),
        }
        for i, name in enumerate(classes)
    ]


def _evaluation_folder(trained: Trained) -> Path:
    folder = trained.folder / "evaluation"
    folder.mkdir(exist_ok=True)
    return folder


def _digest(data: ImageDataModule) -> str:
    """What the test set consists of: its classes, labels and images (of those that are not in memory: their files)."""
    split = data.splits["test"]
    digest = hashlib.sha256(repr(data.classes).encode() + split.labels.tobytes())
    for row in split.rows:
        digest.update(split.images[row].tobytes())
    return digest.hexdigest()
