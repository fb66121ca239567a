"""Test metrics of trained runs, class by class, and of their ensemble."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.fabric.utilities import move_data_to_device
from omegaconf import DictConfig, ListConfig
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from project.callbacks.pictures import confusion_figure
from project.data.captions import CaptionDataModule
from project.data.module import DataModule
from project.data.targeted import TargetedDataModule
from project.data.translation import TranslationDataModule
from project.data.videos import VideoDataModule
from project.errors import UserError
from project.runs.building import build_data
from project.runs.captions import evaluate_captions
from project.runs.dense_evaluation import class_rows, point_rows
from project.runs.folder import write_json
from project.runs.quiet import quiet
from project.runs.speed import device_for
from project.runs.tables import table
from project.runs.trained import Trained, check_unchanged, load_run
from project.runs.translation import evaluate_translation
from project.tasks.classification import ImageClassifier, confusion_matrix, f1_scores
from project.tasks.frame_classification import FrameClassification, whole_videos
from project.tasks.regression import Regression
from project.tasks.segmentation import Segmentation
from project.tasks.text_classification import TextClassification

# their batches end with the labels, the rest is what `net` takes
CLASSIFIERS = (ImageClassifier, TextClassification, FrameClassification)


def run_evaluation(cfg: DictConfig) -> dict[str, Any]:
    """Test each of the runs of `cfg.run`, show what was found, and write it into the runs' folders.

    Returns:
        The metrics by run folder; of several classifiers also those of the `ensemble`, whose probabilities are the
        mean of theirs.

    Raises:
        UserError: a run that is none, or a classifier, translator or captioner without a test set, or runs whose test
            sets differ.
    """
    names = list(cfg.run) if isinstance(cfg.run, ListConfig) else [cfg.run]
    if not names:
        raise UserError("run=[] names no run")
    device = device_for(cfg.accelerator)
    results: dict[str, Any] = {}
    predicted: list[Tensor] = []
    seen: dict[str, Trained] = {}  # by what they are tested on
    labels = torch.empty(0)
    with quiet():
        for name in names:
            trained = load_run(str(name), cfg.outputs, cfg.checkpoint)
            data = build_data(trained.cfg)
            check_unchanged(trained.folder, trained.data, data)
            seen.setdefault(_test_set(trained, data), trained)
            if len(seen) > 1:
                one, other = (run.folder for run in seen.values())
                unit = trained.data.get("unit", "images")
                raise UserError(f"{one} and {other} have other test {unit}, so they cannot be compared")
            if isinstance(data, TranslationDataModule):
                results[str(trained.folder)] = evaluate_translation(trained, data, device)
            elif isinstance(data, CaptionDataModule):
                results[str(trained.folder)] = evaluate_captions(trained, data, device)
            elif isinstance(data, TargetedDataModule) and isinstance(trained.task, Regression | Segmentation):
                results[str(trained.folder)] = _targeted(trained, data, device, show=len(names) == 1)
            elif not isinstance(trained.task, CLASSIFIERS):
                results[str(trained.folder)] = _measured(trained, data, device)
            else:
                probabilities, labels = _probabilities(trained, data, device)
                results[str(trained.folder)] = _classified(trained, data, probabilities, labels, show=len(names) == 1)
                predicted.append(probabilities)
        if len(predicted) > 1:
            results["ensemble"] = _scores(trained, data, torch.stack(predicted).mean(0), labels)
    print(table([{"run": run, **found} for run, found in results.items()]))
    return results


def scores(
    probabilities: Tensor, labels: Tensor, measures: Sequence[str] = ImageClassifier.measures
) -> dict[str, float]:
    """What classifiers are measured by: loss, accuracies, macro F1. Shapes: probabilities (N, K), labels (N,)."""
    classes = probabilities.shape[1]
    likeliest = probabilities.topk(min(5, classes), dim=1).indices  # (N, 5)
    own = probabilities.gather(1, labels[:, None]).clamp_min(torch.finfo(probabilities.dtype).tiny)
    predicted = probabilities.argmax(1)
    found = {
        "accuracy": (predicted == labels).double().mean(),
        "f1": f1_scores(confusion_matrix(predicted, labels, classes)).nanmean(),
        "loss": -own.log().mean(),
        "top5_accuracy": (likeliest == labels[:, None]).any(1).double().mean(),
    }
    return {f"test/{name}": value.item() for name, value in found.items() if name in measures}


def _scores(trained: Trained, data: DataModule, probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """What the run's task is measured by in a validation, of the test set in the order of `_probabilities`."""
    names = [name.removeprefix("val/") for name in trained.task.logged if name.startswith("val/")]
    found = scores(probabilities, labels, names)
    if isinstance(data, VideoDataModule):
        right = whole_videos(probabilities.argmax(1) == labels, _video_lengths(data))
        found["test/video_accuracy"] = right.double().mean().item()
    return found


def _video_lengths(data: VideoDataModule) -> Tensor:
    """Frames of the videos of the test set (V,), as the batches have them."""
    return torch.from_numpy(data.parts["test"].lengths[0])[data.test_dataloader().order(0)]


def _test_set(trained: Trained, data: DataModule) -> str:
    needed = isinstance(trained.task, CLASSIFIERS) or isinstance(data, TranslationDataModule | CaptionDataModule)
    if needed and not data.counts["test"]:
        raise UserError(
            f"{trained.folder} was trained on data that have no test part, so there is nothing to test it on"
        )
    digest = hashlib.sha256()
    for content in data.content("test" if data.counts["test"] else "val"):
        digest.update(content)
    return digest.hexdigest()


@torch.inference_mode()
def _probabilities(trained: Trained, data: DataModule, device: torch.device) -> tuple[Tensor, Tensor]:
    """(N, K) float64 probabilities and (N,) labels of the test set, in the order of the data; of videos frame by frame.

    Videos stand in the order of their lengths, one behind the other.
    """
    task, loader = trained.task.to(device), data.test_dataloader()
    probabilities, labels = [], []
    for batch in loader:
        *inputs, own_labels = move_data_to_device(batch, device)
        probabilities.append(task.predict(*inputs).cpu().double().softmax(1))
        labels.append(own_labels.cpu())
    task.cpu()
    if isinstance(data, VideoDataModule):
        return torch.cat(probabilities), torch.cat(labels)
    places = loader.order(0).argsort()  # sentences come sorted by length
    return torch.cat(probabilities)[places], torch.cat(labels)[places]


def _measured(trained: Trained, data: DataModule, device: torch.device) -> dict[str, float]:
    """What the task itself measures in a test, or where there is nothing to test on, in a validation."""
    trainer = Trainer(
        accelerator=device.type,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    measure = trainer.test if data.counts["test"] else trainer.validate
    measure(trained.task, datamodule=data, verbose=False)
    found = {name: float(value) for name, value in trainer.callback_metrics.items()}
    write_json(_evaluation_folder(trained) / "metrics.json", found)
    return found


def _targeted(trained: Trained, data: TargetedDataModule, device: torch.device, show: bool) -> dict[str, float]:
    """Write what the task measures, and the table by point or by class; the measures."""
    found = _measured(trained, data, device)
    points = isinstance(trained.task, Regression)
    rows = (point_rows if points else class_rows)(trained, data, device)
    plain = [{key: None if value != value else value for key, value in row.items()} for row in rows]  # JSON has no NaN
    write_json(_evaluation_folder(trained) / "metrics.json", {**found, "points" if points else "classes": plain})
    with SummaryWriter(str(trained.folder)) as writer:
        writer.add_text(f"test/{'points' if points else 'classes'}", table(rows, markdown=True), trained.step)
    if show:
        print(f"{table(rows)}\n")
    return found


def _classified(
    trained: Trained, data: DataModule, probabilities: Tensor, labels: Tensor, show: bool
) -> dict[str, float]:
    """Write the metrics, the table per class and the confusion matrix; the metrics."""
    classes = trained.data["classes"]
    confusion = confusion_matrix(probabilities.argmax(1), labels, len(classes))
    rows = _per_class(confusion, classes, trained.data.get("unit", "images"))
    found = _scores(trained, data, probabilities, labels)
    folder = _evaluation_folder(trained)
    write_json(folder / "metrics.json", {**found, "classes": rows, "confusion": confusion.tolist()})
    figure = confusion_figure(confusion, classes)
    figure.savefig(folder / "confusion.png", dpi=120)
    with SummaryWriter(str(trained.folder)) as writer:
        writer.add_figure("test/confusion_matrix", figure, trained.step)
        writer.add_text("test/classes", table(rows, markdown=True), trained.step)
    if show:
        print(table(rows))
        print(f"confusion matrix: {folder / 'confusion.png'}, and in TensorBoard under Images\n")
    return found


def _per_class(confusion: Tensor, classes: list[str], unit: str) -> list[dict[str, Any]]:
    """Recall, precision and F1 of each class from the (K, K) counts, rows true and columns predicted."""
    hits, true, predicted = confusion.diag().double(), confusion.sum(1).double(), confusion.sum(0).double()
    recall, precision = hits / true.clamp_min(1), hits / predicted.clamp_min(1)
    f1 = f1_scores(confusion).nan_to_num(0.0)
    return [
        {
            "class": name,
            unit: int(true[i]),
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
