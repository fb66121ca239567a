"""Labels of a video's frames, as files beside it have them."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from project.data.lines import read_lines, shown
from project.errors import UserError

FORMS = (
    "NAME.txt has a label a line, one for each frame; NAME.csv has rows of frame,label: each label holds from that "
    "frame on (the first is number 0) up to the next row's"
)


@dataclass(frozen=True)
class FrameLabels:
    """From frame `begins[i]` on the label is `names[i]`."""

    path: Path
    begins: np.ndarray  # (L,) int64, rising, from 0 on
    names: list[str]
    each: bool  # there is one for every frame

    def at(self, frames: np.ndarray, total: int | None) -> np.ndarray:
        """The places (T,) in `names` of these frames' labels.

        Args:
            frames: (T,) numbers, rising.
            total: frames of the video; None: unknown.

        Raises:
            UserError: labels that are too few, or of frames that are not there.
        """
        last = int(self.begins[-1])
        if self.each and (last < frames[-1] or (total is not None and last + 1 != total)):
            have = total if total is not None else f"at least {frames[-1] + 1}"
            raise UserError(
                f"{shown(self.path)} has {last + 1} labels, and its video {have} frames: each must have one.\n{FORMS}."
            )
        if total is not None and last >= total:
            raise UserError(
                f"{shown(self.path)} has a label for frame {last}, and its video has frames 0 to {total - 1}."
            )
        return np.searchsorted(self.begins, frames, side="right") - 1


def read_labels(path: Path) -> FrameLabels:
    """The labels in a `.txt` or `.csv`, see `FORMS`.

    Raises:
        UserError: it cannot be read, or a line is neither; names the line.
    """
    lines = read_lines(path)
    if path.suffix.lower() == ".csv":
        return _table(path, lines)
    names = [line.strip() for line in lines]
    if not names or "" in names:
        at = names.index("") + 1 if names else 1
        raise UserError(f"{shown(path)}, line {at}: there is no label.\n{FORMS}.")
    return FrameLabels(path, np.arange(len(names)), names, each=True)


def _table(path: Path, lines: list[str]) -> FrameLabels:
    rows = [(number, [cell.strip() for cell in row]) for number, row in enumerate(csv.reader(lines), 1) if row]
    if rows and not rows[0][1][0].isdecimal():
        rows = rows[1:]  # a header
    begins: list[int] = []
    names: list[str] = []
    for number, row in rows:
        if len(row) != 2 or not row[0].isdecimal() or not row[1]:
            raise UserError(f"{shown(path)}, line {number}: frame,label is expected, got {','.join(row)!r}.\n{FORMS}.")
        begin = int(row[0])
        if begin <= begins[-1] if begins else begin:
            law = f"frames must rise, got {begin} after {begins[-1]}" if begins else f"frame 0 is first, got {begin}"
            raise UserError(f"{shown(path)}, line {number}: {law}.\n{FORMS}.")
        begins.append(begin)
        names.append(row[1])
    if not names:
        raise UserError(f"{shown(path)} has no labels.\n{FORMS}.")
    return FrameLabels(path, np.array(begins, dtype=np.int64), names, each=False)
