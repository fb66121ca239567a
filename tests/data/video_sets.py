"""Small videos, as files, as folders of frames and generated."""

from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from project.data.videos import VideoDataModule
from tests.conftest import CONF


def pixels(count: int, seed: int = 0, size: tuple[int, int] = (16, 16)) -> np.ndarray:
    """`count` frames (count, H, W, 3), each of one grey, another for each, and a mark of its seed; `size` is (W, H)."""
    frames = np.empty((count, size[1], size[0], 3), np.uint8)
    frames[:] = (20 + 200 * np.arange(count) // count)[:, None, None, None]
    frames[:, :4, :4] = 10 * seed % 256
    return frames


def write_frames(folder: Path, frames: np.ndarray) -> Path:
    """frame_1.png, frame_2.png, ..., frame_10.png, ..."""
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames, 1):
        Image.fromarray(frame).save(folder / f"frame_{number}.png")
    return folder


def write_video(path: Path, frames: np.ndarray) -> Path:
    """Encoded by PyAV, lossless up to the colours' conversion."""
    av = pytest.importorskip("av", reason="PyAV is not installed: pip install '.[video]'")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def make_folder(root: Path, count: int = 24) -> Path:
    """Folders of 3 to 7 frames, each with its labels: `dark` frames, then `bright` ones."""
    for number in range(count):
        length = 3 + number % 5
        write_frames(root / f"walk_{number}", pixels(length, seed=number))
        (root / f"walk_{number}.csv").write_text(f"frame,label\n0,dark\n{length // 2},bright\n")
    return root


def build(name: str, folder: Path, **arguments: Any) -> VideoDataModule:
    """The data set of conf/data/<name>.yaml on small data below `folder`, ready."""
    small: dict[str, dict[str, Any]] = {
        "moving_shapes": {"train_videos": 40, "test_videos": 14, "shortest": 8, "longest": 12},
        "video_folder": {
            "root": str(folder / "videos"),
            "image_size": 16,
            "cache_folder": str(folder / "cache"),
            "num_workers": 0,
            "val_fraction": 0.2,
            "test_fraction": 0.2,
        },
    }
    if name == "video_folder" and not (folder / "videos").exists():
        make_folder(folder / "videos")
    member = OmegaConf.load(CONF / "data" / f"{name}.yaml")
    overrides = {"batch_size": 6, "eval_batch_size": 4, **small[name], **arguments}
    config = OmegaConf.create({"seed": 0, "data": OmegaConf.merge(member, overrides)})
    module: VideoDataModule = hydra.utils.instantiate(config.data)
    module.prepare_data()
    module.setup("fit")
    return module
