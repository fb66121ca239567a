"""Videos as arrays of frames: files that PyAV decodes, or folders of pictures."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from project.data.decode import fitted, open_rgb
from project.data.files import ENDINGS
from project.data.lines import shown
from project.errors import UserError

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")


def natural(name: str) -> list[str | int]:
    """A key that sorts frame_2 before frame_10."""
    return [int(part) if number % 2 else part for number, part in enumerate(re.split(r"([0-9]+)", name))]


def pictures(folder: Path) -> list[Path]:
    """The images in a folder, in the order of their numbers."""
    found = [path for path in folder.iterdir() if path.name.lower().endswith(ENDINGS) and path.name[0] != "."]
    return sorted(found, key=lambda path: natural(path.name))


def read_frames(
    path: Path, height: int, width: int, every: int = 1, most: int | None = None
) -> tuple[np.ndarray, int | None]:
    """A video file, or a folder of frames.

    Args:
        path: of the file or the folder.
        height: to which each frame is fitted: its shorter side resized, its centre cut out.
        width: likewise.
        every: frames 0, every, 2 every, ... are kept.
        most: so many of these, at most.

    Returns:
        (T, height, width, 3) uint8; and how many frames there are, None where it was not read to its end.

    Raises:
        UserError: not there, broken, or without a frame; PyAV is missing.
    """
    kept: list[np.ndarray] = []
    total = 0
    for image in _pictures(path) if path.is_dir() else _decoded(path):
        if total % every == 0:
            if len(kept) == most:
                return np.stack(kept), None
            kept.append(fitted(image(), height, width))
        total += 1
    if not kept:
        raise UserError(f"{shown(path)} has no frames.")
    return np.stack(kept), total


def _pictures(folder: Path) -> Iterator[Callable[[], Image.Image]]:
    """Each is opened only where it is wanted."""
    for path in pictures(folder):
        yield partial(open_rgb, path)


def _decoded(path: Path) -> Iterator[Callable[[], Image.Image]]:
    """Each is converted only where it is wanted, which is before the next one is asked for."""
    try:
        import av
    except ImportError:
        raise UserError(
            f"{shown(path)}: video files are read by PyAV, which is not installed: pip install '.[video]'.\n"
            "Folders of frames need nothing."
        ) from None
    if not path.is_file():
        raise UserError(f"There is no video {shown(path)}.")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UserError(f"{shown(path)} has no pictures, only sound.")
            for frame in container.decode(video=0):
                yield partial(_upright, frame)
    except (OSError, ValueError, av.FFmpegError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{shown(path)} cannot be read as a video: {reason}.\nRepair or remove it.") from error


def _upright(frame: Any) -> Image.Image:
    """PyAV's frame as a camera's owner sees it."""
    image: Image.Image = frame.to_image()
    return image.rotate(frame.rotation, expand=True) if frame.rotation else image
