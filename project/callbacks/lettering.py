"""Text as pixels: a monospaced letter a cell, whatever the text holds, on colours that say something of it."""

import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np
from PIL import Image, ImageDraw

from project.callbacks.fonts import font

WIDTH, HEIGHT = 9, 18  # pixels of a cell
WHITE, ORANGE = (255, 255, 255), (230, 85, 13)
BLUES = (WHITE, (158, 202, 225), (49, 130, 189), (8, 48, 107))
RED_TO_BLUE = ((202, 0, 32), (244, 165, 130), WHITE, (146, 197, 222), (5, 113, 176))
_SHOWN = {"\n": "↵", "\t": "→"}
# by hexadecimal digit its five rows of three pixels, each an octal digit
_DIGITS = "75557262277174771317557117471774757712227575775717257556565634443655567464774644"


def shade(values: np.ndarray, stops: Sequence[tuple[int, int, int]] = BLUES) -> np.ndarray:
    """Numbers (...) from 0 to 1 to one of 33 colours (..., 3) uint8 on the way from the first of `stops` to the last.

    Of fewer colours a picture is smaller.
    """
    at = np.linspace(0, 1, len(stops))
    values = np.round(32 * np.clip(np.nan_to_num(values), 0, 1)) / 32
    channels = [np.interp(values, at, channel) for channel in np.array(stops).T]
    return np.stack(channels, -1).round().astype(np.uint8)


def typeset(
    lines: Sequence[str], colours: np.ndarray | tuple[int, int, int] = WHITE, marked: np.ndarray | None = None
) -> np.ndarray:
    """Lines of text as a picture (R * HEIGHT, C * WIDTH, 3) uint8, in dark or white letters, as the colour needs it.

    Args:
        lines: R of them, at least one; C is the longest one's length, at least 1.
        colours: of each cell, (R, C, 3) uint8, or of all.
        marked: (R, C), true for cells that are underlined.
    """
    columns = max(1, *map(len, lines))
    ink = np.stack([_glyph(character) for line in lines for character in line.ljust(columns)])
    ink = ink.reshape(len(lines), columns, HEIGHT, WIDTH)[..., None].astype(np.float32) / 255
    paper = np.broadcast_to(np.asarray(colours, np.float32), (len(lines), columns, 3))
    dark = paper @ np.array([0.299, 0.587, 0.114], np.float32) < 120
    letters = np.where(dark[..., None], 255, 20).astype(np.float32)[:, :, None, None]
    picture = paper[:, :, None, None] * (1 - ink) + letters * ink  # (R, C, HEIGHT, WIDTH, 3)
    if marked is not None:
        picture[marked, -2:] = ORANGE
    return picture.round().astype(np.uint8).swapaxes(1, 2).reshape(len(lines) * HEIGHT, columns * WIDTH, 3)


def below(pictures: Sequence[np.ndarray], gap: int = HEIGHT // 2, margin: int = 0) -> np.ndarray:
    """Pictures (H, W, 3) one below the other, on white."""
    width = max(picture.shape[1] for picture in pictures)
    height = sum(map(len, pictures)) + gap * (len(pictures) - 1)
    whole = np.full((height + 2 * margin, width + 2 * margin, 3), 255, np.uint8)
    top = margin
    for picture in pictures:
        whole[top : top + len(picture), margin : margin + picture.shape[1]] = picture
        top += len(picture) + gap
    return whole


def beside(pictures: Sequence[np.ndarray], gap: int = 2 * WIDTH) -> np.ndarray:
    """Pictures (H, W, 3) from left to right, on white."""
    return below([picture.swapaxes(0, 1) for picture in pictures], gap).swapaxes(0, 1)


def cut(text: str, length: int) -> str:
    """At most so many characters of a text; an ellipsis tells that there were more."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


@cache
def _missing() -> bytes:
    """How the font draws what it lacks."""
    return bytes(font(14, "DejaVuSansMono").getmask("\uffff"))


@lru_cache(4096)
def _glyph(character: str) -> np.ndarray:
    """How much ink (HEIGHT, WIDTH) uint8 a character puts where; one that has no form has its number in its place."""
    if character == " ":
        return np.zeros((HEIGHT, WIDTH), np.uint8)
    character = _SHOWN.get(character, character)
    if "\udc80" <= character <= "\udcff":  # a byte, as Python's `surrogateescape` has it
        return _number(f"{ord(character) - 0xDC00:02X}")
    if (
        unicodedata.category(character)[0] in "CMZ"
        or bytes(font(14, "DejaVuSansMono").getmask(character)) == _missing()
    ):
        return _number(f"{ord(character):02X}")
    image = Image.new("L", (WIDTH, HEIGHT))
    ImageDraw.Draw(image).text((0, 1), character, fill=255, font=font(14, "DejaVuSansMono"))
    return np.asarray(image) // 64 * 85  # four steps of grey make smaller files


def _number(digits: str) -> np.ndarray:
    """Up to six hexadecimal digits in a cell, two beside each other, each of 3 x 5 pixels."""
    cell = np.zeros((HEIGHT, WIDTH), np.uint8)
    digits = digits.zfill(len(digits) + len(digits) % 2)
    top = (HEIGHT - 3 * len(digits)) // 2
    for place, digit in enumerate(digits):
        rows = [[int(row) >> shift & 1 for shift in (2, 1, 0)] for row in _DIGITS[5 * int(digit, 16) :][:5]]
        y, x = top + 6 * (place // 2), 1 + 4 * (place % 2)
        cell[y : y + 5, x : x + 3] = 255 * np.array(rows, np.uint8)
    return cell
