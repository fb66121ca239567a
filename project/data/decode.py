"""Pictures of any size and mode into uint8 arrays."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from project.errors import UserError

USUAL_SIZES = (32, 64, 128, 224)


def open_rgb(path: str | Path) -> Image.Image:
    """The picture upright and in RGB, whatever it is stored as: grey, palette, with alpha, 16 bits.

    Raises:
        UserError: no such file, or not a picture (what it says: the path and the decoder's reason).
    """
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits: `convert` would clip at 255
                upright = Image.fromarray((np.asarray(upright).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
            return upright.convert("RGB")
    except FileNotFoundError:
        raise UserError(f"There is no image {path}.") from None
    except Exception as error:  # a broken file makes the decoders raise nearly anything, SyntaxError included
        raise UserError(f"{path} cannot be read as an image: {error or type(error).__name__}.") from error


def fitted(image: Image.Image, height: int, width: int) -> np.ndarray:
    """Resized until it just covers height x width, and the centre cut out: (H, W, 3) uint8, untouched if it fits."""
    return np.array(_fitted(image, height, width, Image.Resampling.BILINEAR))


def fitted_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """A mask (H, W) uint8 cut and resized as `fitted` does its picture; each pixel takes the nearest one's class."""
    return np.array(_fitted(Image.fromarray(mask), height, width, Image.Resampling.NEAREST))


def _fitted(image: Image.Image, height: int, width: int, resampling: Image.Resampling) -> Image.Image:
    if image.size == (width, height):
        return image
    return image.resize((width, height), resampling, box=kept_box(image.size, height, width))


def kept_box(size: tuple[int, int], height: int, width: int) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what `fitted` keeps of a picture of this size (width, height), in its pixels."""
    scale = max(height / size[1], width / size[0])
    across, down = width / scale, height / scale
    left, top = (size[0] - across) / 2, (size[1] - down) / 2
    return max(left, 0.0), max(top, 0.0), min(left + across, size[0]), min(top + down, size[1])


def size_for(count: int, path: Callable[[int], Path]) -> tuple[int, int, bool]:
    """Height and width for so many pictures, judged by 2,000 of them, evenly spread over their numbers.

    Returns:
        The size that they share, or else a usual one, which is square; and whether they share it.
    """
    seen: list[tuple[int, int]] = []
    for number in np.unique(np.linspace(0, count - 1, 2000).astype(int)):
        try:
            with Image.open(path(int(number))) as image:
                seen.append((image.height, image.width))
        except Exception:  # a broken file is named when it is decoded
            continue
    if len(set(seen)) == 1:
        return *seen[0], True
    shorter = np.median([min(size) for size in seen]) if seen else USUAL_SIZES[0]
    side = max((size for size in USUAL_SIZES if size <= shorter), default=USUAL_SIZES[0])
    return side, side, False


def random_resized_crop(
    image: Image.Image, height: int, width: int, rng: np.random.Generator, flip: bool = True
) -> np.ndarray:
    """8 % to 100 % of the picture's area, its sides 3:4 to 4:3, with `flip` mirrored half of the time.

    Returns:
        (H, W, 3) uint8.

    From "Going deeper with convolutions" (Szegedy et al., 2015); as in torchvision, the centre after ten vain tries.
    """
    areas = rng.uniform(0.08, 1.0, 10) * image.width * image.height
    ratios = np.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3), 10))
    place, mirror = rng.random(2), rng.random() < 0.5
    pixels = None
    for across, down in zip(np.sqrt(areas * ratios).round(), np.sqrt(areas / ratios).round(), strict=True):
        if 0 < across <= image.width and 0 < down <= image.height:
            left, top = np.floor(place * (image.width - across + 1, image.height - down + 1))
            box = (left, top, left + across, top + down)
            pixels = np.array(image.resize((width, height), Image.Resampling.BILINEAR, box=box))
            break
    if pixels is None:
        pixels = fitted(image, height, width)
    return np.ascontiguousarray(pixels[:, ::-1]) if mirror and flip else pixels
