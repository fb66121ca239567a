"""Sort-of-CLEVR: six coloured figures and questions about them, drawn on the spot, without any file or network."""

from functools import lru_cache
from typing import Any

import numpy as np

from project.data.module import require
from project.data.questions import QuestionDataModule, Questions

COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "orange": (255, 156, 0),
    "grey": (128, 128, 128),
    "yellow": (255, 255, 0),
}
SHAPES = ("square", "circle")
KINDS = ("relational", "non_relational")
FORMS = (  # three of each kind
    "what is the shape of the object closest to the {} one ?",
    "what is the shape of the object furthest from the {} one ?",
    "how many objects have the shape of the {} one ?",
    "what is the shape of the {} object ?",
    "is the {} object on the left ?",
    "is the {} object at the top ?",
)
ANSWERS = ("yes", "no", *SHAPES, "1", "2", "3", "4", "5", "6")
PER_KIND = 10  # questions about a picture
_PLACES, _QUESTIONS = 0, 1  # what random numbers are for


def place(count: int, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Figures that do not overlap, one of each colour: centres (count, 6, 2) as y, x, and shapes (count, 6)."""
    half = half_side(size)
    centres = np.zeros((count, len(COLOURS), 2), np.int64)
    for figure in range(len(COLOURS)):
        todo = np.arange(count)
        while len(todo):  # those that touch one that is there already are placed again
            centres[todo, figure] = rng.integers(half, size - half, (len(todo), 2))
            apart = np.abs(centres[todo, :figure] - centres[todo, figure, None]).max(-1)  # (todo, figures before)
            todo = todo[(apart <= 2 * half).any(1)]
    return centres, rng.integers(0, len(SHAPES), (count, len(COLOURS)))


def half_side(size: int) -> int:
    """Pixels from a figure's centre to its edge, in pictures of so many pixels: 5 of 75."""
    return max(2, round(size * 5 / 75))


def draw(centres: np.ndarray, shapes: np.ndarray, size: int) -> np.ndarray:
    """Pictures (N, size, size, 3) uint8, on white, of figures at `centres` (N, 6, 2) of `shapes` (N, 6)."""
    half = half_side(size)
    images = np.full((len(centres), size, size, 3), 255, np.uint8)
    down, across = np.mgrid[-half : half + 1, -half : half + 1]
    inside = (np.ones_like(down, bool), np.hypot(down, across) <= half + 0.3)
    for figure, colour in enumerate(COLOURS.values()):
        for shape, mask in enumerate(inside):
            members = np.flatnonzero(shapes[:, figure] == shape)
            y, x = (centres[members, figure, axis, None] + step[mask] for axis, step in enumerate((down, across)))
            images[members[:, None], y, x] = colour
    return images


def solve(centres: np.ndarray, shapes: np.ndarray, size: int) -> np.ndarray:
    """The answers (N, 6, 6), numbers in `ANSWERS`, by form and colour."""
    square = np.square(centres[:, :, None] - centres[:, None]).sum(-1)  # (N, 6, 6) squared distances
    others = np.where(np.eye(len(COLOURS), dtype=bool), size * size * 2, square)
    shape = shapes + ANSWERS.index(SHAPES[0])
    closest, furthest = (np.take_along_axis(shape, other, 1) for other in (others.argmin(-1), square.argmax(-1)))
    alike = (shapes[:, :, None] == shapes[:, None]).sum(-1) + ANSWERS.index("1") - 1
    top, left = (np.where(centres[..., axis] < size / 2, ANSWERS.index("yes"), ANSWERS.index("no")) for axis in (0, 1))
    return np.stack([closest, furthest, alike, shape, left, top], axis=1)


def generate(count: int, size: int, seed: int) -> Questions:
    """`count` pictures with 10 relational and 10 other questions each, none twice; a function of all three alone."""
    centres, shapes = place(count, size, np.random.default_rng((seed, _PLACES)))
    solved = solve(centres, shapes, size).reshape(count, -1)  # (N, 36)
    half = solved.shape[1] // 2
    order = np.random.default_rng((seed, _QUESTIONS)).random((count, 2, half)).argsort(-1)[..., :PER_KIND]
    asked = (order + np.array([[0], [half]])).reshape(count, -1)  # (N, 20): numbers of form and colour
    answers = np.take_along_axis(solved, asked, 1).reshape(-1, 1)
    return Questions(
        images=draw(centres, shapes, size),
        rows=np.arange(count),
        count=np.full(count, asked.shape[1]),
        texts=[form.format(colour) for form in FORMS for colour in COLOURS],
        asked=asked.ravel(),
        kinds=(asked.ravel() >= half).astype(np.int64),
        answers=answers,
        credits=np.ones(answers.shape, np.float32),
    )


_made = lru_cache(maxsize=2)(generate)  # trial after trial in one process needs the same; nobody writes to it


class SortOfClevr(QuestionDataModule):
    """Santoro et al. 2017, section 3.2 ("A simple neural network module for relational reasoning").

    Each picture has six figures, one of each colour, which are squares or circles, anywhere. Relational questions ask
    about the figure that is closest to or furthest from one, or how many have its shape; the others for a figure's
    shape, and whether it stands in the left or the upper half. In the paper questions are vectors of bits; here they
    are in words. The pictures are the same in every run.

    Args:
        train_images: to train and validate on; the paper has 9,800 and 200.
        test_images: to test on.
        image_size: side in pixels; 75 in the paper.
        common: what `QuestionDataModule` takes.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(self, train_images: int = 10000, test_images: int = 1000, image_size: int = 48, **common: Any) -> None:
        super().__init__(**common)
        require(train_images >= 10, "data.train_images must be at least 10", train_images)
        require(test_images >= 1, "data.test_images must be at least 1", test_images)
        require(image_size >= 32, "data.image_size must be at least 32 pixels", image_size)
        self.train_images, self.test_images, self.image_size = train_images, test_images, image_size
        self.classes, self.kinds = list(ANSWERS), list(KINDS)

    def read(self) -> dict[str, Questions]:
        counts = {"train": self.train_images, "test": self.test_images}
        return {split: _made(count, self.image_size, seed) for seed, (split, count) in enumerate(counts.items(), 1)}
