"""What a trained run says about an input of one's own: each kind of task has its way of reading it and of answering."""

from collections.abc import Callable
from typing import Any

import torch
from omegaconf import DictConfig

from project.errors import UserError
from project.runs.captions import predict_captions
from project.runs.image_prediction import predict_images
from project.runs.mask_prediction import predict_masks
from project.runs.point_prediction import predict_points
from project.runs.question_prediction import predict_answers
from project.runs.speed import device_for
from project.runs.text_prediction import predict_texts
from project.runs.trained import Trained, load_run
from project.runs.translation import predict_translations
from project.runs.video_prediction import predict_videos
from project.tasks.answering import Answering
from project.tasks.captioning import Captioning
from project.tasks.classification import ImageClassifier
from project.tasks.frame_classification import FrameClassification
from project.tasks.regression import Regression
from project.tasks.segmentation import Segmentation
from project.tasks.task import Task
from project.tasks.text_classification import TextClassification
from project.tasks.translation import Translation

Predictor = Callable[[DictConfig, Trained, torch.device], list[dict[str, Any]]]

# by task, who answers, and in which formats, the usual one first
PREDICTORS: dict[type[Task], tuple[Predictor, tuple[str, ...]]] = {
    ImageClassifier: (predict_images, ("table", "jsonl")),
    TextClassification: (predict_texts, ("table", "jsonl")),
    Translation: (predict_translations, ("lines", "table", "jsonl")),
    Captioning: (predict_captions, ("lines", "table", "jsonl")),
    Answering: (predict_answers, ("table", "jsonl")),
    FrameClassification: (predict_videos, ("table", "jsonl")),
    Regression: (predict_points, ("table", "jsonl")),
    Segmentation: (predict_masks, ("table", "jsonl")),
}
DRAWN = (Regression, Segmentation)  # tasks with pictures to write


def run_prediction(cfg: DictConfig) -> list[dict[str, Any]]:
    """Ask the run `cfg.run` about `cfg.input`, and print a table, JSON lines, or plain lines of what writes sentences.

    Returns:
        What was printed, a dictionary per image, frame, text or line.

    Raises:
        UserError: no such run or input, or a run whose task predicts nothing of a single input.
    """
    for name in ("top", "batch_size"):
        if not isinstance(cfg[name], int) or cfg[name] < 1:
            raise UserError(f"{name} must be a whole number of at least 1, got {cfg[name]}")
    if not str(cfg.input).strip():
        raise UserError("input= is empty: give an image, a folder of images, a video, a text, or a file of texts")
    trained = load_run(str(cfg.run), cfg.outputs, cfg.checkpoint)
    predict, formats = _predictor(trained)
    if cfg.question is not None and not isinstance(trained.task, Answering):
        raise UserError(f"question= is for networks that answer questions; {trained.folder} is {_named(trained)}")
    if cfg.format not in (None, *formats):
        raise UserError(f"format={cfg.format} is unknown: choose {' or '.join(formats)}")
    if cfg.out is not None and not isinstance(trained.task, DRAWN):
        raise UserError(f"out={cfg.out} is for pictures, and a {type(trained.task).__name__} draws none: leave it out")
    cfg = cfg.copy()
    cfg.format = cfg.format or formats[0]
    return predict(cfg, trained, device_for(cfg.accelerator))


def _predictor(trained: Trained) -> tuple[Predictor, tuple[str, ...]]:
    for task, found in PREDICTORS.items():
        if isinstance(trained.task, task):
            return found
    known = ", ".join(task.__name__ for task in PREDICTORS)
    raise UserError(f"{trained.folder} is {_named(trained)}; there are predictions of: {known}")


def _named(trained: Trained) -> str:
    name = type(trained.task).__name__
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"
