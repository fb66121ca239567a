"""What commands that make a picture step by step share: what it begins with, how it is watched and stopped, its PNG."""

import signal
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import numpy as np
import torch
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from project.callbacks.tiles import write_image
from project.data.decode import open_rgb
from project.errors import Stopped, UserError
from project.nets.layers import map_layers, output_shapes
from project.stops import heard_by

Step = TypeVar("Step")
LINES = 10  # about so many tell how far it is where there is no terminal for a bar


def read_picture(path: str, longer: int | None, most: int | None = None) -> Image.Image:
    """The picture with its longer side resized to `longer` pixels; None: as it is, but not larger than `most`.

    Raises:
        UserError: no such file, or not a picture.
    """
    image = open_rgb(path)
    if longer is None:
        longer = min(max(image.size), most or max(image.size))
    if longer == max(image.size):
        return image
    size = [max(1, round(side * longer / max(image.size))) for side in image.size]
    return image.resize((size[0], size[1]), Image.Resampling.LANCZOS)


def normalised(pixels: Any, mean: Tensor, std: Tensor) -> Tensor:
    """(1, 3, H, W) of an image, or its pixels (H, W, 3) uint8, on the device of mean and std (3,)."""
    shares = torch.from_numpy(np.array(pixels)).to(mean.device).permute(2, 0, 1)[None].float() / 255
    return (shares - mean[:, None, None]) / std[:, None, None]


def layer_shapes(net: nn.Module, image_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """The layers that take images of this size, with the shapes of their outputs; see `output_shapes`.

    Raises:
        UserError: the network does not take images of this size.
    """
    try:
        return output_shapes(net, image_shape, map_layers(net))
    except RuntimeError as error:
        height, width = image_shape[1:]
        raise UserError(
            f"{type(net).__name__} does not take a picture of {width}x{height} pixels: choose another size="
        ) from error


def unknown_layer(key: str, name: str, net: nn.Module, known: list[str]) -> UserError:
    """That `net` has no such layer, those that look like it, and all."""
    near = get_close_matches(name, known, n=3)
    meant = f" Did you mean {' or '.join(near)}?" if near else ""
    return UserError(
        f"{key}={name} is no layer of {type(net).__name__}.{meant} Its layers: {', '.join(known) or 'none'}"
    )


def whole(cfg: DictConfig, key: str, least: int, null: bool = False) -> None:
    """Refuse what is no whole number of at least `least`.

    Raises:
        UserError: it is none.
    """
    value = cfg[key]
    if (value is None and null) or (isinstance(value, int) and not isinstance(value, bool) and value >= least):
        return
    raise UserError(f"{key} must be a whole number of at least {least}{', or null' if null else ''}, got {value}")


def number(cfg: DictConfig, key: str, least: float = 0.0) -> None:
    """Refuse what is no finite number of at least `least`.

    Raises:
        UserError: it is none.
    """
    value = cfg[key]
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value < float("inf"):
        raise UserError(f"{key} must be a number of at least {least:g}, got {value}")


def watched(steps: Iterator[Step], total: int, tell: Callable[[Step], str]) -> tuple[Step, int, int | None]:
    """The last of `steps`, how many there were, and the signal that asked to stop, if one did.

    In a terminal a bar shows how far it is, elsewhere a line now and then. Ctrl-C and SIGTERM end it after the step.

    Raises:
        Stopped: asked a second time.
    """
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if asked:
            raise Stopped(f"stopped at once by {signal.Signals(number).name}; nothing was written", number)
        asked.append(number)

    with heard_by(ask), tqdm(total=total, unit=" steps", disable=None, dynamic_ncols=True, leave=False) as bar:
        for count, step in enumerate(steps, 1):
            bar.update()
            if not bar.disable:
                bar.set_postfix_str(tell(step), refresh=False)
            elif count % max(1, total // LINES) == 0 or count == total:
                print(f"step {count:>4}/{total}  {tell(step)}", flush=True)
            if asked:
                break
    return step, count, asked[0] if asked else None


def checked_out(out: Any) -> Path | None:
    """Where the picture is to go, if the person says so.

    Raises:
        UserError: it exists, is no PNG, or there is no such folder.
    """
    if out is None:
        return None
    path = Path(str(out))
    if path.suffix.lower() != ".png":
        raise UserError(f"out={path} must end in .png")
    if path.exists():
        raise UserError(f"out={path} exists already: name a new file, or remove it first")
    if not path.absolute().parent.is_dir():
        raise UserError(f"out={path}: there is no folder {path.absolute().parent}: make it first")
    return path


def new_png(folder: Path, name: str) -> Path:
    """A PNG in `folder` that is not there yet, numbered if need be; the folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = "".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in name)[:100]
    count = 0
    while (path := folder / f"{stem}{f'-{count}' if count else ''}.png").exists():
        count += 1
    return path


def write_png(picture: Image.Image, path: Path) -> None:
    """Whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        picture.save(partial, format="PNG")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def show_in_tensorboard(run: Path, tag: str, picture: Image.Image, step: int) -> None:
    """Add a picture to the Images tab of a run."""
    with SummaryWriter(str(run)) as writer:
        write_image(writer, tag, picture, step)


def stop_if_asked(asked: int | None, count: int, total: int, path: Path) -> None:
    """End the command as a signal asks for, once what there is has been written.

    Raises:
        Stopped: a signal has come.
    """
    if asked is not None:
        name = signal.Signals(asked).name
        raise Stopped(f"stopped by {name} after {count} of {total} steps; the picture so far: {path}", asked)
