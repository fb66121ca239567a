"""Checkpoint files: written whole or not at all, and looked over before they are trusted."""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from project.errors import UserError


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint format, written beside its place, flushed to the disk, then moved into place at once.

    Raises:
        UserError: in `save_checkpoint`, when the disk is full or the folder not writable; what stood there stays.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except (OSError, RuntimeError) as error:  # torch.save reports a failed write as a RuntimeError
            partial.unlink(missing_ok=True)
            if (stop := _stop_behind(error)) is not None:
                raise stop from None
            cause = error if isinstance(error, OSError) else (error.__context__ or error)
            remedy = f"The checkpoints before it are whole: make room, then resume={path.parent.parent}"
            if not any(path.parent.glob("*.ckpt")):
                remedy = "It would have been the first one: make room, and start again"
            reason = getattr(cause, "strerror", None) or cause
            raise UserError(f"could not write the checkpoint {path}: {reason}.\n{remedy}") from error


def _stop_behind(error: BaseException) -> BaseException | None:
    """What asked this process to end while torch wrote, which makes a RuntimeError of everything."""
    behind: BaseException | None = error
    while isinstance(behind, Exception):
        behind = behind.__cause__ or behind.__context__
    return behind


def is_whole(path: Path) -> bool:
    """Whether every byte of a checkpoint is as it was written (the checksums of its zip entries)."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, RuntimeError, EOFError, NotImplementedError):
        return False


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's dictionary on the CPU, without unpickling any class.

    Raises:
        UserError: `path` is damaged or holds more than tensors and plain Python values.
    """
    if not is_whole(path):
        raise UserError(f"the checkpoint {path} is missing, truncated or damaged: choose another one")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise UserError(f"{path} is no checkpoint of this project: {str(error).splitlines()[0]}") from error
