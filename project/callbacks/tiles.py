"""Pictures of tiles with captions, drawn pixel by pixel: a figure library takes a third of a second for each."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor

from project.callbacks.fonts import font
from project.callbacks.verbatim import visible

LEAST, MOST = 64, 128  # the side of a tile: smaller images are enlarged, larger ones shrunk
GAP, LINE, TEXT = 4, 14, 11  # pixels between tiles, of a line of text, of its letters
LARGE = 100_000  # bytes of a PNG from which a JPEG may take its place
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def pixels_of(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """(N, H, W, 3) uint8 of normalised images (N, 3, H, W), with the data's mean and deviation for pixels in 0..1."""
    rows = images.detach().float().cpu().permute(0, 2, 3, 1).numpy()
    pixels = rows * np.array(std, np.float32) + np.array(mean, np.float32)
    return to_bytes(pixels)


def to_bytes(shares: np.ndarray) -> np.ndarray:
    """0..1 to 0..255, what lies outside cut off; not a number is black."""
    return np.rint(255 * np.clip(np.nan_to_num(shares), 0, 1)).astype(np.uint8)


def sized(pixels: np.ndarray, least: int = LEAST, most: int = MOST) -> np.ndarray:
    """An image (H, W, 3) enlarged by a whole factor, each pixel a square, or shrunk by averaging."""
    height, width = pixels.shape[:2]
    longer = max(height, width)
    if longer > most:
        size = max(1, width * most // longer), max(1, height * most // longer)
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
    factor = max(1, -(-least // longer))
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def stretched(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """An image (H, W, 3) made this large, its pixels rectangles."""
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST))


def stacked(*tiles: np.ndarray) -> np.ndarray:
    """Tiles of one width as one, one below the other, a white line between them."""
    line = np.full((2, *tiles[0].shape[1:]), 255, np.uint8)
    parts = [part for tile in tiles for part in (tile, line)]
    return np.concatenate(parts[:-1])


def grid(tiles: Sequence[np.ndarray], columns: int, captions: Sequence[str] = (), title: str = "") -> Image.Image:
    """Tiles (H, W, 3) of one size in rows of `columns`, each with its caption's lines below it, a title above all.

    A line that is too long for its tile ends in an ellipsis.
    """
    height, width = tiles[0].shape[:2]
    assert all(tile.shape[:2] == (height, width) for tile in tiles)
    lines = max((caption.count("\n") + 1 for caption in captions), default=0)
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    top = LINE + GAP if title else 0
    down, across = height + lines * LINE + GAP, width + GAP
    picture = Image.new("RGB", (columns * across + GAP, top + rows * down + GAP), WHITE)
    pen = ImageDraw.Draw(picture)
    if title:
        pen.text((GAP, GAP), clipped(title, picture.width - 2 * GAP), BLACK, font(TEXT))
    for number, tile in enumerate(tiles):
        x, y = GAP + number % columns * across, top + GAP + number // columns * down
        picture.paste(Image.fromarray(tile), (x, y))
        for line, text in enumerate(captions[number].split("\n") if captions else ()):
            pen.text((x, y + height + line * LINE), clipped(text, width), BLACK, font(TEXT))
    return picture


def wrapped(text: str, width: int, size: int = TEXT) -> str:
    """A text in lines of at most so many pixels, broken between words."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font(size).getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def clipped(text: str, width: int, size: int = TEXT) -> str:
    """What of a line fits into so many pixels; control characters, which come with names from data, written out."""
    text = visible(" ".join(text.split()))
    if font(size).getlength(text) <= width:
        return text
    while text and font(size).getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def write_image(writer: Any, tag: str, picture: Image.Image, step: int) -> None:
    """Write to a SummaryWriter: as a PNG, or as a JPEG where that is much smaller, as of many photographs."""
    content = _encoded(picture, format="PNG", compress_level=1)  # a quarter of the usual time, as small within 5 %
    if len(content) > LARGE:
        small = _encoded(picture, format="JPEG", quality=88, subsampling=0)
        content = min(content, small, key=len)
    image = Summary.Image(height=picture.height, width=picture.width, colorspace=3, encoded_image_string=content)
    writer.file_writer.add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)


def _encoded(picture: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, **options)
    return file.getvalue()
