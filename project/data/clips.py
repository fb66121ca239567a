"""Which videos a folder has, with which labels; and their frames, decoded once into a file that later runs map."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped]

from project.data.entries import make_entry
from project.data.files import SPLITS
from project.data.footage import VIDEOS, natural, pictures, read_frames
from project.data.frame_labels import FORMS
from project.data.lines import shown
from project.data.workers import in_parallel
from project.errors import UserError


@dataclass(frozen=True)
class Clip:
    """A video file, or a folder of frames, and its labels: a file, or one class for all of its frames."""

    path: Path
    labels: Path | None
    kind: str = ""

    def stamps(self) -> list[tuple[str, int, int]]:
        """What changes when its frames do: names, bytes, times of the last change in ns."""
        files = pictures(self.path) if self.path.is_dir() else [self.path]
        return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def find_clips(root: Path) -> dict[str, list[Clip]]:
    """`root/train`, `val` and `test` where there is a folder `train`, else all that `root` has, as `train`.

    Each holds videos with their labels beside them, or a folder of videos for each class.

    Raises:
        UserError: no such folder, nothing in it, or a video without labels.
    """
    if not root.is_dir():
        raise UserError(f"There is no folder {shown(root)}.\nSay where the videos are: data.root=PATH.")
    if not (root / "train").is_dir():
        return {"train": _clips(root)}
    return {split: _clips(root / name) for split, names in SPLITS.items() for name in names if (root / name).is_dir()}


def _clips(folder: Path) -> list[Clip]:
    folders = [entry for entry in _visible(folder) if entry.is_dir()]
    own = videos_in(folder)
    if own:
        return [Clip(video, _label_file(video)) for video in own]
    found = [Clip(video, None, of.name) for of in folders for video in videos_in(of)]
    if not found:
        raise UserError(
            f"There are no videos in {shown(folder)}: expected are files that end in {', '.join(VIDEOS)}, or folders "
            f"of frames, with labels beside them ({FORMS}); or folders of such videos, one for each class."
        )
    return found


def videos_in(folder: Path) -> list[Path]:
    """The video files, and the folders of frames, in a folder."""
    return [
        entry
        for entry in _visible(folder)
        if (entry.is_dir() and any(pictures(entry))) or (entry.is_file() and entry.name.lower().endswith(VIDEOS))
    ]


def _visible(folder: Path) -> list[Path]:
    names = sorted((entry.name for entry in os.scandir(folder) if entry.name[0] != "."), key=natural)
    return [folder / name for name in names]


def _label_file(video: Path) -> Path:
    stem = video.name if video.is_dir() else video.stem
    places = [video.parent / f"{stem}{ending}" for ending in (".csv", ".txt")]
    if video.is_dir():
        places += [video / "labels.csv", video / "labels.txt"]
    there = [place for place in places if place.is_file()]
    if len(there) != 1:
        what = f"two files with labels, {there[0].name} and {there[1].name}" if there else "no labels beside it"
        raise UserError(f"{shown(video)} has {what}.\n{FORMS}.")
    return there[0]


@dataclass(frozen=True)
class Decoded:
    """The frames of all clips, one clip behind the other."""

    frames: np.ndarray  # (M, S, S, 3) uint8, mapped
    counts: np.ndarray  # (V,) of each clip
    totals: np.ndarray  # (V,) how many frames it has; -1: more than were asked for


def decode_clips(clips: list[Clip], cache: Path, size: int, every: int, most: int | None, workers: int) -> Decoded:
    """From the cache, or decoded now; see `project.data.footage.read_frames`.

    Raises:
        UserError: a clip that cannot be read, a cache that cannot be written.
    """
    stamps = [clip.stamps() for clip in clips]
    described = json.dumps([1, size, every, most, stamps])
    place = cache / f"videos-{hashlib.sha256(described.encode()).hexdigest()[:16]}"
    try:
        make_entry(place, lambda entry: _write(entry, _Tasks(clips, size, every, most), workers))
    except OSError as error:
        raise UserError(
            f"The decoded videos cannot be written to {shown(cache)}: {error.strerror or error}.\n"
            "Choose another place with data.cache_folder=PATH."
        ) from error
    try:
        counts, totals = np.load(place / "counts.npy"), np.load(place / "totals.npy")
        frames = np.memmap(place / "frames", np.uint8, "r", shape=(int(counts.sum()), size, size, 3))
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"The cache {shown(place)} cannot be read: {error}.\nRemove it; it is made anew.") from error
    return Decoded(np.asarray(frames), counts, totals)


class _Tasks:
    """Item k: the frames of clip k and how many there are, or why they cannot be read."""

    def __init__(self, clips: list[Clip], size: int, every: int, most: int | None) -> None:
        self.clips, self.size, self.every, self.most = clips, size, every, most

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, number: int) -> tuple[np.ndarray, int, str]:
        try:
            frames, total = read_frames(self.clips[number].path, self.size, self.size, self.every, self.most)
        except UserError as error:  # as a text, because a worker's exceptions come with their trace
            return np.empty(0, np.uint8), 0, str(error)
        return frames, -1 if total is None else total, ""


def _write(entry: Path, tasks: _Tasks, workers: int) -> None:
    counts, totals = [], []
    with (entry / "frames").open("wb") as file:
        for frames, total, reason in _with_bar(tasks, workers):
            if reason:
                raise UserError(reason)
            file.write(frames.tobytes())
            counts.append(len(frames))
            totals.append(total)
    np.save(entry / "counts.npy", np.array(counts, dtype=np.int64))
    np.save(entry / "totals.npy", np.array(totals, dtype=np.int64))


def _with_bar(tasks: _Tasks, workers: int) -> Iterator[tuple[np.ndarray, int, str]]:
    answers = in_parallel(
        tasks, range(len(tasks)), min(workers, len(tasks) // 4)
    )  # few are sooner read than workers start
    yield from tqdm(answers, "Decoding videos", len(tasks), unit="video")
