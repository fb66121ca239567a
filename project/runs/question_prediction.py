"""Answers to questions about pictures that are in no data set."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from project.errors import UserError
from project.runs.answers import class_columns, likeliest, show
from project.runs.image_prediction import find_images, read_images, tell
from project.runs.text_prediction import Reader
from project.runs.trained import Trained


def predict_answers(cfg: DictConfig, trained: Trained, device: torch.device) -> list[dict[str, Any]]:
    """Ask `cfg.question` about the image, or about each image in the folder, `cfg.input`.

    Words that the run's vocabulary lacks are told on standard error.

    Returns:
        Per image: its path, the question, the likeliest answer as `class`, that answer's probability, and the `cfg.top`
        likeliest with theirs.

    Raises:
        UserError: no question, no such input, or images that cannot be read; those that can are shown first.
    """
    ids, reader = _question(cfg, trained)
    paths = find_images(Path(str(cfg.input)))
    failed: list[str] = []

    def batches() -> Iterator[list[dict[str, Any]]]:
        for start in range(0, len(paths), cfg.batch_size):
            yield _answer(trained, paths[start : start + cfg.batch_size], ids, cfg, device, failed)

    found = show(batches(), cfg.format, lambda result: {"image": result["image"], **_columns(result)})
    reader.report()
    tell(failed, len(paths))
    return found


def _question(cfg: DictConfig, trained: Trained) -> tuple[Tensor, Reader]:
    reader = Reader(trained.data)
    example = 'e.g. question="what is the shape of the red object ?"'
    if cfg.question is None:
        raise UserError(f"{trained.folder} answers questions about pictures, and there is none: give one, {example}")
    for _, ids in reader.encoded([str(cfg.question)]):
        return ids, reader
    raise UserError(f"question= is empty: give one, {example}")


@torch.inference_mode()
def _answer(
    trained: Trained, paths: list[Path], ids: Tensor, cfg: DictConfig, device: torch.device, failed: list[str]
) -> list[dict[str, Any]]:
    images, readable = read_images(trained, paths, device, failed)
    if not readable:
        return []
    count = len(readable)
    questions = ids.to(device)[:, None].expand(-1, count)
    owner = torch.arange(count, device=device)
    logits = trained.task.to(device).predict(images, questions, torch.full((count,), len(ids)), owner)
    found = likeliest(logits, trained.data["classes"], cfg.top)
    question = str(cfg.question)
    return [{"image": str(path), "question": question, **result} for path, result in zip(readable, found, strict=True)]


def _columns(result: dict[str, Any]) -> dict[str, str]:
    columns = class_columns(result)
    return {"answer": columns.pop("class"), **columns}
