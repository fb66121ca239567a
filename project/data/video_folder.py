"""Anyone's own videos: files, or folders of frames, with labels beside them or a folder for each class."""

from pathlib import Path
from typing import Any

import numpy as np

from project.data.clips import Clip, decode_clips, find_clips
from project.data.footage import natural
from project.data.frame_labels import read_labels
from project.data.lines import shown
from project.data.module import require
from project.data.videos import VideoDataModule, Videos
from project.errors import UserError
from project.machine import usable_cores


class VideoFolder(VideoDataModule):
    """`root/train`, `root/val` and `root/test`, or `root` alone, from which the parts are held out.

    A video is a file that PyAV decodes (`pip install '.[video]'`), or a folder of pictures in the order of the numbers
    in their names. Its labels stand beside it (see `project.data.frame_labels.FORMS`), for a folder of frames also in
    it, as `labels.csv` or `labels.txt`. Or the videos stand in a folder for each class, which all of their frames have.

    Args:
        root: the folder.
        image_size: side in pixels to which frames are fitted.
        every: frames 0, every, 2 every, ... are looked at, also in predictions.
        max_frames: of these, so many of a video, its first, at most; None: all.
        cache_folder: where decoded frames are kept between runs.
        num_workers: processes that decode; None: one for each core.
        common: what `VideoDataModule` takes.

    Raises:
        ValueError: an argument out of its range.
        UserError: no such folder, a video without labels, a file that cannot be read.
    """

    def __init__(
        self,
        root: str,
        image_size: int = 64,
        every: int = 1,
        max_frames: int | None = 256,
        cache_folder: str = "data/cache",
        num_workers: int | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require(image_size >= 1, "data.image_size must be at least 1", image_size)
        require(every >= 1, "data.every must be at least 1", every)
        require(max_frames is None or max_frames >= 1, "data.max_frames must be at least 1, or null", max_frames)
        require(num_workers is None or num_workers >= 0, "data.num_workers must be at least 0, or null", num_workers)
        self.root, self.image_size, self.every, self.max_frames = Path(root), image_size, every, max_frames
        self.cache_folder, self.num_workers = Path(cache_folder), num_workers

    def prepare_data(self) -> None:
        self.setup()

    def read(self) -> tuple[Videos, dict[str, np.ndarray], np.ndarray]:
        parts = find_clips(self.root)
        clips = [clip for own in parts.values() for clip in own]
        workers = usable_cores() if self.num_workers is None else self.num_workers
        decoded = decode_clips(clips, self.cache_folder, self.image_size, self.every, self.max_frames, workers)
        if cut := int((decoded.totals < 0).sum()):
            self.say(
                "%d of %d videos have more than data.max_frames=%s frames and are cut there",
                cut,
                len(clips),
                self.max_frames,
            )
        names = [self._names(*row) for row in zip(clips, decoded.counts.tolist(), decoded.totals.tolist(), strict=True)]
        train = len(parts["train"])
        self.classes = sorted({name for own in names[:train] for name in own.tolist()}, key=natural)
        known = {name: label for label, name in enumerate(self.classes)}
        for clip, own in zip(clips[train:], names[train:], strict=True):
            if unknown := set(own.tolist()) - known.keys():
                raise UserError(
                    f"{shown(clip.labels or clip.path)} has a label {min(unknown)!r} that no training video has: "
                    f"they have {', '.join(self.classes)}."
                )
        labels = np.array([known[name] for own in names for name in own.tolist()], dtype=np.int64)
        starts = np.concatenate([[0], decoded.counts.cumsum()])
        ends = np.cumsum([len(own) for own in parts.values()])
        numbers = {split: np.arange(end - len(own), end) for (split, own), end in zip(parts.items(), ends, strict=True)}
        kinds = np.array([known.get(clip.kind, 0) for clip in clips])
        return Videos(decoded.frames, starts, labels), numbers, kinds

    def _names(self, clip: Clip, count: int, total: int) -> np.ndarray:
        """The labels of the clip's frames that are kept, (count,)."""
        if clip.labels is None:
            return np.full(count, clip.kind)
        labels = read_labels(clip.labels)
        return np.array(labels.names)[labels.at(self.every * np.arange(count), None if total < 0 else total)]
