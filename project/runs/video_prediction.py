"""The class of every frame of videos that are in no data set."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from project.data.clips import videos_in
from project.data.footage import VIDEOS, pictures, read_frames
from project.data.loader import normalisation
from project.errors import UserError
from project.runs.answers import likeliest, show
from project.runs.tables import table
from project.runs.trained import Trained


def predict_videos(cfg: DictConfig, trained: Trained, device: torch.device) -> list[dict[str, Any]]:
    """Classify the frames of `cfg.input`: a video file, a folder of frames, or a folder of such videos.

    A table has a line for each run of frames of one class, with the mean probability of that class; JSON lines have one
    for each frame.

    Returns:
        Per frame that the run's data would look at (see `data.every`): its video's path, its number from 0 on, the
        likeliest class, that class's probability, and the `cfg.top` likeliest with theirs.

    Raises:
        UserError: no such input, or a video that cannot be read; those before it are shown first.
    """
    videos = _videos(Path(str(cfg.input)))
    failed: list[UserError] = []

    def answers() -> Iterator[list[dict[str, Any]]]:
        for path in videos:
            try:
                yield _classify(trained, path, cfg.batch_size, cfg.top, device)
            except UserError as error:
                failed.append(error)
                return

    found = show(answers(), cfg.format if cfg.format == "jsonl" else "none", lambda result: {})
    if cfg.format == "table" and found:
        print(table(stretches(found, several=len(videos) > 1)))
    if failed:
        raise failed[0]
    return found


def stretches(frames: Iterable[dict[str, Any]], several: bool = False) -> list[dict[str, str]]:
    """A row for all frames of one class that follow each other in one video; `several`: rows name the video."""
    rows = []
    for (video, name), run in groupby(frames, lambda frame: (frame["video"], frame["class"])):
        own = list(run)
        mean = sum(frame["probability"] for frame in own) / len(own)
        row = {"from": str(own[0]["frame"]), "to": str(own[-1]["frame"]), "class": name, "probability": f"{mean:.3f}"}
        rows.append({"video": video, **row} if several else row)
    return rows


def _videos(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"input={path} does not exist: name a video, a folder of frames, or a folder of these")
    found = [path] if pictures(path) else videos_in(path)
    if not found:
        raise UserError(f"input={path} holds no videos (files that end in {', '.join(VIDEOS)}, folders of frames)")
    return found


@torch.inference_mode()
def _classify(trained: Trained, path: Path, batch_size: int, top: int, device: torch.device) -> list[dict[str, Any]]:
    facts, net = trained.data, trained.task.net.to(device)
    _, height, width = facts["sizes"]["image_shape"]
    pixels, _ = read_frames(path, height, width, facts["every"])
    scale, offset = normalisation(facts["mean"], facts["std"], device)
    features: list[Tensor] = []
    for part in torch.from_numpy(pixels).split(batch_size):
        frames = torch.addcmul(offset, part.to(device).float(), scale).permute(0, 3, 1, 2)
        features.append(net.describe(frames))  # type: ignore[operator]
    logits = net.classify(torch.cat(features), torch.tensor([len(pixels)]))  # type: ignore[operator]
    answers = likeliest(logits, facts["classes"], top)
    return [{"video": str(path), "frame": facts["every"] * i, **answer} for i, answer in enumerate(answers)]
