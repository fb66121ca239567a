"""A small grammar of what can be said of two figures, and whether it is true.

caption  = [there is] figure [is] relation figure        "a small red disc is left of a star ..."
figure   = a [size] colour shape
relation = left of | to the left of | right of | to the right of | above | over | below | under
"""

import re
from itertools import permutations

import numpy as np

from project.data.figures import COLOURS, SHAPES, SIZES, Scene

WORDINGS = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
}
TEMPLATES = ("{} {} {}", "{} is {} {}", "there is {} {} {}")
APART = 0.1  # share of the side that centres must differ by, for one to be left of another, or above it
SIZE_TOLD = 0.75  # how often a figure's size is told
WRONG = 7  # faults of a caption in which everything is wrong

_FIGURE = rf"a(?: ({'|'.join(SIZES)}))? ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})"
_RELATIONS = {wording: relation for relation, wordings in WORDINGS.items() for wording in wordings}
_CAPTION = re.compile(rf"(?:there is {_FIGURE}|{_FIGURE}(?: is)?) ({'|'.join(_RELATIONS)}) {_FIGURE}")


def holds(relation: str, scene: Scene, one: int, other: int) -> bool:
    """Whether figure `one` is left of, right of, above or below figure `other`."""
    across, down = scene.x[other] - scene.x[one], scene.y[other] - scene.y[one]
    return {"left": across, "right": -across, "above": down, "below": -down}[relation] >= APART


def captions(scene: Scene, rng: np.random.Generator, count: int) -> list[str]:
    """So many true captions: any two figures, any of what is true of them, in any wording; some may be the same."""
    pairs = list(permutations(range(len(scene)), 2))
    written = []
    for number in rng.integers(0, len(pairs), count):
        one, other = pairs[number]
        true = [relation for relation in WORDINGS if holds(relation, scene, one, other)]
        if not true:  # each figure has a cell to itself, so that this cannot be
            continue
        wordings = WORDINGS[true[rng.integers(len(true))]]
        template, wording = TEMPLATES[rng.integers(len(TEMPLATES))], wordings[rng.integers(len(wordings))]
        written.append(template.format(_named(scene, one, rng), wording, _named(scene, other, rng)))
    return written


def _named(scene: Scene, figure: int, rng: np.random.Generator) -> str:
    size = f"{scene.size[figure]} " if rng.random() < SIZE_TOLD else ""
    return f"a {size}{scene.colour[figure]} {scene.shape[figure]}"


def faults(caption: str, scene: Scene) -> int:
    """How many words would have to be others for the caption to be true: sizes, colours, shapes, the relation.

    0: it is true, of whichever two figures. `WRONG` of what is no caption of the grammar.
    """
    match = _CAPTION.fullmatch(" ".join(caption.lower().split()).removesuffix("."))
    if match is None:
        return WRONG
    *parts, wording = match.groups()[:7]
    first = parts[:3] if parts[2] else parts[3:]
    second = match.groups()[7:]
    relation = _RELATIONS[wording]
    return min(
        _differing(first, scene, one) + _differing(second, scene, other) + (not holds(relation, scene, one, other))
        for one, other in permutations(range(len(scene)), 2)
    )


def is_true(caption: str, scene: Scene) -> bool:
    """Whether what the caption says is so of any two figures."""
    return faults(caption, scene) == 0


def _differing(said: "list[str | None] | tuple[str | None, ...]", scene: Scene, figure: int) -> int:
    """Of what is said of a figure, how much is another in this one; a size that is not told is right."""
    own = (scene.size[figure], scene.colour[figure], scene.shape[figure])
    return sum(word is not None and word != value for word, value in zip(said, own, strict=True))
