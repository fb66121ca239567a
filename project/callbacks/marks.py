"""Points and classes as they are drawn: marks on a picture, a colour for each class."""

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def class_colours(count: int) -> np.ndarray:
    """(count, 3) uint8: class 0, which mostly is the ground, black, and for each of the others a colour of its own.

    Hues a golden angle apart, so that neighbours in the list differ; their brightness changes beside.
    """
    colours = [BLACK]
    for number in range(count - 1):
        shade = colorsys.hsv_to_rgb(number * 0.381966 % 1, (0.9, 0.55)[number // 2 % 2], (1.0, 0.75)[number // 4 % 2])
        colours.append((round(255 * shade[0]), round(255 * shade[1]), round(255 * shade[2])))
    return np.array(colours[:count], np.uint8)


def coloured(mask: np.ndarray, count: int, ignored: tuple[int, int, int] = WHITE) -> np.ndarray:
    """(H, W, 3) uint8 of a mask (H, W) of so many classes; any other number is drawn as `ignored`."""
    table = np.array(ignored, np.uint8)[None].repeat(256, 0)
    table[:count] = class_colours(count)
    return table[mask]


def point_colours(count: int) -> list[tuple[int, int, int]]:
    """A colour for each key point."""
    return [(red, green, blue) for red, green, blue in class_colours(count + 1)[1:].tolist()]


def mark(picture: Image.Image, points: Sequence[Sequence[float]], size: float, ring: bool = False) -> None:
    """Draw points, x and y in pixels of the picture and NaN for unknown ones, each in its colour on a dark edge.

    Args:
        picture: RGB.
        points: K of them; the colour goes by the number.
        size: from a mark's centre to its end, in pixels.
        ring: circles instead of crosses.
    """
    pen, thin = ImageDraw.Draw(picture), max(2, round(size / 3))
    for (x, y), colour in zip(points, point_colours(len(points)), strict=True):
        if np.isnan(x) or np.isnan(y):
            continue
        for width, ink in ((thin + 2, BLACK), (thin, colour)):
            if ring:
                grown = size + (width - thin) / 2
                pen.ellipse((x - grown, y - grown, x + grown, y + grown), outline=ink, width=width)
            else:
                pen.line((x - size, y - size, x + size, y + size), fill=ink, width=width)
                pen.line((x - size, y + size, x + size, y - size), fill=ink, width=width)
