"""Pictures of any size and mode into uint8 arrays."""

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from project.errors import UserError


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
    if image.size != (width, height):
        scale = max(height / image.height, width / image.width)
        across, down = width / scale, height / scale  # the part of the picture that stays
        left, top = (image.width - across) / 2, (image.height - down) / 2
        box = (max(left, 0.0), max(top, 0.0), min(left + across, image.width), min(top + down, image.height))
        image = image.resize((width, height), Image.Resampling.BILINEAR, box=box)
    return np.array(image)


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
