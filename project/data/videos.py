"""Videos with a label for every frame; and what all data sets of videos share."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from project.data.loader import normalisation
from project.data.module import placement
from project.data.pictures import Split, mean_and_std
from project.data.sentences import SentenceDataModule, placed

VideoBatch = tuple[Tensor, Tensor, Tensor]  # frames (N, 3, H, W), lengths (B,) on the CPU, labels (N,)


@dataclass(frozen=True)
class Videos:
    """Videos one behind the other in one array: video i is frames[starts[i]:starts[i + 1]]."""

    frames: np.ndarray  # (M, H, W, 3) uint8, in memory, or a file that is mapped
    starts: np.ndarray  # (V + 1,) int64
    labels: np.ndarray  # (M,) int64, of each frame

    def __len__(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def lengths(self) -> np.ndarray:
        """Frames of each video, (V,) int64."""
        return np.diff(self.starts)

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """Where the frames of these videos stand, one video behind the other, (N,)."""
        lengths = self.lengths[numbers]
        ends = lengths.cumsum()
        return np.arange(ends[-1] if len(ends) else 0) + np.repeat(self.starts[numbers] - ends + lengths, lengths)


@dataclass(frozen=True)
class VideoPart:
    """Some of the videos, the samples of a split; frames are normalised a batch at once."""

    videos: Videos
    numbers: np.ndarray  # (V',) which ones
    mean: list[float]  # of each channel, for pixels in 0..1
    std: list[float]

    def __len__(self) -> int:
        return len(self.numbers)

    @cached_property
    def frame_counts(self) -> np.ndarray:
        """(V',) int64."""
        return self.videos.lengths[self.numbers]

    @property
    def lengths(self) -> tuple[np.ndarray, ...]:
        return (self.frame_counts,)

    @property
    def labels(self) -> np.ndarray:
        """Of the frames of all videos of the part, one video behind the other, (M',) int64."""
        return self.videos.labels[self.videos.rows(self.numbers)]

    def batch(self, numbers: np.ndarray, device: torch.device) -> VideoBatch:
        rows = self.videos.rows(self.numbers[numbers])
        pixels = placed(self.videos.frames[rows], device)  # (N, H, W, 3)
        scale, offset = normalisation(self.mean, self.std, device)
        frames = torch.addcmul(offset, pixels.float(), scale).permute(0, 3, 1, 2)  # channels last in memory
        return frames, torch.from_numpy(self.frame_counts[numbers]), placed(self.videos.labels[rows], device)


class VideoDataModule(SentenceDataModule):
    """A data set of videos. A member gives `read`.

    After `setup`: `classes` by label, `mean` and `std` per channel of the training frames for pixels in 0..1, `counts`
    of videos. Batches hold nothing but real frames, one video behind the other: (frames (N, 3, H, W) float32
    channels_last, lengths (B,) int64 on the CPU, labels (N,) int64), N the sum of the lengths. Videos of a batch are of
    about one length, as sentences are.

    Args:
        common: what `SentenceDataModule` takes.

    Raises:
        ValueError: an argument out of its range.
        UserError: data that are missing, broken, or too few for what is asked.
    """

    unit, counted = "frames", "videos"
    classes: list[str]
    every = 1  # of the frames of a video, each n-th is one of a sample's

    def __init__(self, **common: Any) -> None:
        super().__init__(**common)
        self.image_shape: list[int] = []
        self.mean: list[float] = []
        self.std: list[float] = []

    @abstractmethod
    def read(self) -> tuple[Videos, dict[str, np.ndarray], np.ndarray]:
        """All videos; the numbers of those of `train`, and of `val` and `test` where the data set has them.

        `self.classes` must be set by then. The third: a class for each video, so that parts held out have all of them.
        """

    def make_parts(self) -> dict[str, Any]:
        videos, numbers, kinds = self.read()
        given = numbers["train"]
        for split, members in self.cut(kinds[given], given=numbers).items():
            numbers[split] = given[members]
        self.image_shape = [3, *videos.frames.shape[1:3]]
        rows = videos.rows(numbers["train"])
        self.mean, self.std = mean_and_std(Split(videos.frames, rows, videos.labels[rows]))
        return {split: VideoPart(videos, own, self.mean, self.std) for split, own in numbers.items()}

    def content(self, split: str) -> Iterator[bytes]:
        """Classes, the frames' labels, and how many frames the videos have."""
        part = self.parts[split]
        assert isinstance(part, VideoPart)
        yield repr(self.classes).encode() + part.labels.tobytes() + part.frame_counts.tobytes()

    @property
    def sizes(self) -> dict[str, Any]:
        """What a network is built from; not `num_classes`, which are those of a whole picture."""
        return {"frame_classes": len(self.classes), "image_shape": list(self.image_shape)}

    @property
    def facts(self) -> dict[str, Any]:
        """The classes by label, mean and standard deviation of each channel, and which frames are looked at."""
        return {
            "classes": list(self.classes),
            "mean": [float(value) for value in self.mean],
            "std": [float(value) for value in self.std],
            "every": self.every,
        }

    @property
    def samples_per_batch(self) -> int:
        return round(self.batch_size * float(np.mean(self.parts["train"].lengths[0])))

    def examples(self, split: str, count: int) -> VideoBatch:
        """At most `count` videos of a part, from short to long, evenly spread: the same ones whenever they are asked.

        For each process alone.
        """
        part = self.parts[split]
        places = np.linspace(0, len(part) - 1, min(count, len(part))).round().astype(int)
        chosen = np.argsort(part.lengths[0], kind="stable")[places]
        return part.batch(chosen, placement(self)["device"])  # type: ignore[return-value]
