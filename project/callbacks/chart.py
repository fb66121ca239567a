"""A chart of lines as pixels; a plotting library would take longer to draw it than a network to be looked at."""

from collections.abc import Sequence
from math import ceil, floor, log10

import numpy as np
from PIL import Image, ImageDraw

from project.callbacks.lettering import HEIGHT, WIDTH, below, beside, typeset

SIZE = (560, 320)  # pixels of the area between the axes
COLOURS = ((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189), (140, 86, 75))
_GREY, _FRAME = (225, 225, 225), (120, 120, 120)


def log_chart(lines: dict[str, np.ndarray], title: str, across: str) -> np.ndarray:
    """Lines (T,) by name against 0, 1, 2, ..., on a logarithmic axis; what is not positive is left out. (H, W, 3).

    Args:
        lines: at least one.
        title: what the values are.
        across: what their places are.
    """
    values = np.concatenate(list(lines.values()))
    values = values[np.isfinite(values) & (values > 0)]
    low, high = (floor(log10(values.min())), ceil(log10(values.max()))) if len(values) else (-1, 0)
    high = max(high, low + 1)
    last = max(1, max(map(len, lines.values())) - 1)
    decades = range(low, high + 1, ceil((high - low) / 8))
    places = range(0, last + 1, _tick(last))
    area = _area(lines, (low, high), last, decades, places)
    left = np.full((len(area), 8 * WIDTH, 3), 255, np.uint8)
    for decade in decades:
        _put(left, f"1e{decade}".rjust(7), 0, _height(decade, low, high))
    under = np.full((HEIGHT, left.shape[1] + area.shape[1] + 2 * WIDTH, 3), 255, np.uint8)
    for place in places:
        text = str(place)
        _put(under, text, left.shape[1] + round(place / last * (SIZE[0] - 1)) - len(text) * WIDTH // 2, HEIGHT // 2)
    names = beside([_legend(name, number) for number, name in enumerate(lines)])
    caption = typeset([" " * 8 + across])
    return below([typeset([title]), names, beside([left, area], gap=0), below([under, caption], 0)], margin=HEIGHT // 2)


def _area(
    lines: dict[str, np.ndarray], bounds: tuple[int, int], last: int, decades: Sequence[int], places: Sequence[int]
) -> np.ndarray:
    """What lies between the axes, drawn twice as large, so that lines become smooth."""
    width, height = SIZE
    image = Image.new("RGB", (2 * width, 2 * height), "white")
    draw = ImageDraw.Draw(image)
    for decade in decades:
        y = 2 * _height(decade, *bounds)
        draw.line([(0, y), (2 * width, y)], fill=_GREY, width=2)
    for place in places:
        x = 2 * round(place / last * (width - 1))
        draw.line([(x, 0), (x, 2 * height)], fill=_GREY, width=2)
    draw.rectangle([(0, 0), (2 * width - 1, 2 * height - 1)], outline=_FRAME, width=2)
    for number, line in enumerate(lines.values()):
        for piece in _pieces(line):
            points = [(2 * x / last * (width - 1), 2 * _height(log10(line[x]), *bounds)) for x in piece]
            colour = COLOURS[number % len(COLOURS)]
            draw.line(points, fill=colour, width=4)
            if len(points) == 1:
                draw.circle(points[0], 5, fill=colour)
    return np.asarray(image.resize(SIZE, Image.Resampling.BOX))


def _pieces(line: np.ndarray) -> list[list[int]]:
    """The places without a gap between them at which there is something on a logarithmic axis."""
    there = np.flatnonzero(np.isfinite(line) & (line > 0))
    cuts = np.flatnonzero(np.diff(there) > 1) + 1
    return [piece.tolist() for piece in np.split(there, cuts) if len(piece)]


def _height(exponent: float, low: int, high: int) -> int:
    return round((high - exponent) / (high - low) * (SIZE[1] - 1))


def _tick(last: int) -> int:
    """1, 2 or 5 times a power of ten, so that there are ten ticks at most."""
    power: int = 10 ** floor(log10(max(1, last / 10)))
    return next(step * power for step in (1, 2, 5, 10) if last / (step * power) <= 10)


def _legend(name: str, number: int) -> np.ndarray:
    swatch = np.full((HEIGHT, 2 * WIDTH, 3), 255, np.uint8)
    swatch[HEIGHT // 2 - 1 : HEIGHT // 2 + 1] = COLOURS[number % len(COLOURS)]
    return beside([swatch, typeset([name])], gap=WIDTH // 2)


def _put(picture: np.ndarray, text: str, x: int, middle: int) -> None:
    """Write into a picture, as far as there is room."""
    letters = typeset([text])
    top = min(max(0, middle - HEIGHT // 2), len(picture) - HEIGHT)
    x = max(0, x)
    letters = letters[:, : picture.shape[1] - x]
    picture[top : top + HEIGHT, x : x + letters.shape[1]] = letters
