"""A label for every frame of a video: a ConvNet looks at each frame, a recurrent network goes through them in time."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from project.nets.cells import Cell
from project.nets.feature_map import FeatureMap
from project.nets.kernels import Kernel
from project.nets.recurrent import Recurrent


class FrameClassifier(nn.Module):
    """The ConvNet's map, averaged over a grid, a layer, cells over time, logits (as LRCN, Donahue et al. 2015, sec. 4).

    The label of a frame depends on it and on the frames before it; with `bidirectional` also on those behind it. Videos
    come one behind the other without padding, so that nothing is computed of frames that are none.

    Args:
        net: the ConvNet: has `features`, (N, C, H, W) to (N, C', h, w).
        image_shape: (C, H, W) of a frame.
        num_classes: number K of classes.
        cell: makes a cell from its input's and its state's width.
        hidden_size: width n of the layer behind the ConvNet, and of the states.
        num_layers: layers of cells.
        grid: the map is averaged over the fields of a grid of so many by so many; 1: over the whole frame.
        dropout: on what the cells are given, between their layers, and before the logits.
        recurrent: false: the baseline, which knows each frame alone: layers of n ReLUs in the place of the cells.
        bidirectional: a second cell in each layer reads from the end.
        frozen: the ConvNet stays as it is.
        kernel: see `project.nets.recurrent.Recurrent`.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        net: nn.Module,
        image_shape: Sequence[int],
        num_classes: int,
        cell: Callable[[int, int], Cell],
        hidden_size: int = 128,
        num_layers: int = 1,
        grid: int = 5,
        dropout: float = 0.0,
        recurrent: bool = True,
        bidirectional: bool = False,
        frozen: bool = False,
        kernel: Kernel = "auto",
    ) -> None:
        super().__init__()
        for name, value in {"hidden_size": hidden_size, "num_layers": num_layers, "grid": grid}.items():
            if value < 1:
                raise ValueError(f"model.net.{name} must be at least 1, got {value}")
        if not 0 <= dropout < 1:
            raise ValueError(f"model.net.dropout must be at least 0 and below 1, got {dropout}")
        if bidirectional and not recurrent:
            raise ValueError("model.net.bidirectional=true is for model.net.recurrent=true, got false")
        self.encoder = FeatureMap(net, image_shape, frozen)
        self.fields = (min(grid, self.encoder.size[0]), min(grid, self.encoder.size[1]))
        self.dropout = dropout
        self.into = nn.Linear(self.encoder.channels * self.fields[0] * self.fields[1], hidden_size)
        self.recurrent: Recurrent | None = None
        self.layers: nn.Sequential | None = None
        width = hidden_size
        if recurrent:
            self.recurrent = Recurrent(cell, hidden_size, hidden_size, num_layers, dropout, bidirectional, kernel)
            width = self.recurrent.output_size
        else:
            self.layers = nn.Sequential(*(Layer(hidden_size, dropout) for _ in range(num_layers)))
        self.head = nn.Linear(width, num_classes)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Frames (N, C, H, W), one video behind the other, and the videos' lengths (B,) to logits (N, K)."""
        return self.classify(self.describe(frames), lengths)

    def describe(self, frames: Tensor) -> Tensor:
        """Each frame by itself: (N, C, H, W) to (N, n)."""
        maps = F.adaptive_avg_pool2d(self.encoder(frames), self.fields)
        return F.dropout(torch.relu(self.into(maps.flatten(1))), self.dropout, self.training)

    def classify(self, features: Tensor, lengths: Tensor) -> Tensor:
        """What `describe` gives of whole videos (N, n), and their lengths (B,), to logits (N, K)."""
        if self.recurrent is not None:
            rows, sizes = by_time(lengths.cpu())
            rows = rows.to(features.device)
            outputs, _ = self.recurrent(PackedSequence(features.index_select(0, rows), sizes))
            features = outputs.data.index_select(0, rows.argsort())
        elif self.layers is not None:
            features = self.layers(features)
        return self.head(F.dropout(features, self.dropout, self.training))


class Layer(nn.Module):
    """n ReLUs that know nothing of other frames: what stands in the place of a layer of cells."""

    def __init__(self, size: int, dropout: float) -> None:
        super().__init__()
        self.linear, self.dropout = nn.Linear(size, size), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(N, n) -> (N, n)"""
        return torch.relu(self.linear(self.dropout(x)))


def by_time(lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The order of a PackedSequence for sequences that stand one behind the other.

    Args:
        lengths: (B,) on the CPU, each at least 1.

    Returns:
        rows (N,), where what comes at each place of the packed sequence stands now; and how many sequences there are at
        each step (T,).
    """
    longest_first = lengths.argsort(descending=True, stable=True)
    starts = (lengths.cumsum(0) - lengths)[longest_first]
    steps = torch.arange(int(lengths.max()))[:, None]
    there = steps < lengths[longest_first]  # (T, B)
    return (starts + steps)[there], there.sum(1)
