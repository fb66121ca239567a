"""Pictures of figures, what is said of them, and whether it is true."""

import numpy as np
import pytest

from project.data.figures import COLOURS, MOST, SHAPES, Scene, draw_scenes
from project.data.statements import WRONG, captions, faults, holds, is_true
from tests.data.annotated_sets import BuildAnnotated, build_annotated, ready

__all__ = ["build_annotated"]

# a large red disc above left, a small blue star to its right, a small red disc below the star
SCENE = Scene(
    size=("large", "small", "small"),
    colour=("red", "blue", "red"),
    shape=("disc", "star", "disc"),
    x=(0.2, 0.8, 0.85),
    y=(0.2, 0.25, 0.9),
)


@pytest.mark.parametrize(
    ("caption", "wrong"),
    [
        ("a large red disc left of a small blue star", 0),
        ("A red disc is to the left of a blue star.", 0),
        ("there is a blue star right of a red disc", 0),
        ("a small blue star above a red disc", 0),
        ("a small red disc under a blue star", 0),
        ("a red disc over a red disc", 0),  # the large one over the small one
        ("a small red disc left of a large red disc", 1),  # right of
        ("a large red disc above a blue star", 1),  # 0.05 is no difference: left of
        ("a small red square below a blue star", 1),
        ("a small red disc below a green star", 1),
        ("a small green square below a blue star", 2),
        ("a large green square below a large purple plus", 5),  # but for "below"
        ("a red disc", WRONG),
        ("a red disc left of", WRONG),
        ("a red disc left of a blue star and a square", WRONG),
        ("", WRONG),
    ],
)
def test_how_much_of_a_caption_is_wrong(caption: str, wrong: int) -> None:
    assert faults(caption, SCENE) == wrong
    assert is_true(caption, SCENE) == (wrong == 0)


def test_a_figure_is_not_beside_itself() -> None:
    two = Scene(("small", "small"), ("red", "blue"), ("disc", "star"), (0.2, 0.8), (0.5, 0.5))
    assert faults("a red disc left of a red disc", two) == 2  # the other figure's colour and shape
    assert [holds(relation, two, 0, 1) for relation in ("left", "right", "above", "below")] == [True, *[False] * 3]


def test_what_is_written_is_true_and_of_every_kind() -> None:
    _, scenes = draw_scenes(300, seed=7, side=24)
    rng, written = np.random.default_rng(0), []
    for scene in scenes:
        written.append(captions(scene, rng, 3))
        assert len(written[-1]) == 3
        assert all(is_true(caption, scene) for caption in written[-1])
    every = " ".join(caption for own in written for caption in own)
    words = {"small", "large", *COLOURS, *SHAPES, "there", "is", "left", "right", "above", "over", "below", "under"}
    assert words <= set(every.split())
    others = [is_true(own[0], scene) for own, scene in zip(written[1:], scenes, strict=False)]
    assert sum(others) / len(others) < 0.05  # few say what is so of the next picture, too


def test_pictures_are_functions_of_the_seed_and_their_number() -> None:
    few, many = draw_scenes(10, seed=3, side=24), draw_scenes(260, seed=3, side=24)
    assert np.array_equal(few[0], many[0][:10])
    assert list(few[1]) == list(many[1])[:10]
    assert not np.array_equal(draw_scenes(10, seed=4, side=24)[0], few[0])


@pytest.mark.parametrize("side", [24, 32, 48, 64])
def test_figures_are_where_and_what_they_are_said_to_be(side: int) -> None:
    """The pixel at each centre has about the figure's colour, and no two figures overlap."""
    pixels, scenes = draw_scenes(50, seed=5, side=side)
    assert pixels.shape == (50, side, side, 3)
    counts = {len(scene) for scene in scenes}
    assert counts == {2, 3, MOST}
    for image, scene in zip(pixels.astype(int), scenes, strict=True):
        for x, y, colour in zip(scene.x, scene.y, scene.colour, strict=True):
            middle = image[int(y * side), int(x * side)]
            nearest = min(COLOURS, key=lambda name: int(np.abs(middle - np.array(COLOURS[name])).sum()))
            assert nearest == colour
        gaps = [np.hypot(scene.x[i] - scene.x[j], scene.y[i] - scene.y[j]) for i in range(len(scene)) for j in range(i)]
        assert min(gaps) > 0.17


def test_the_data_set_has_the_pictures_of_its_captions(build_annotated: BuildAnnotated) -> None:
    data = ready(build_annotated("scenes"))
    assert data.counts == {"train": 40, "val": 10, "test": 8}
    assert data.facts["target"]["vocabulary"]["tokens"][:4] == ["<unk>", "<pad>", "<s>", "</s>"]
    for split in ("train", "val", "test"):
        references = data.references(split)  # type: ignore[attr-defined]
        assert {len(own) for own in references} <= {1, 2, 3, 4, 5}
        for place, own in enumerate(references):
            assert all(data.faults(split, place, caption) == 0 for caption in own)  # type: ignore[attr-defined]
            part = data.parts[split]
            first = part.sequences[part.first[place]].tolist()
            assert data.target.decode(first) == own[0]  # type: ignore[attr-defined]
    more = ready(build_annotated("scenes", train_images=50))
    assert np.array_equal(more.parts["train"].images[:40], data.parts["train"].images)
    assert more.references("train")[:40] == data.references("train")  # type: ignore[attr-defined]


def test_laws_of_the_arguments(build_annotated: BuildAnnotated) -> None:
    with pytest.raises(Exception, match=r"data\.image_size must be from 24 to 256 pixels, got 16"):
        build_annotated("scenes", image_size=16)
    with pytest.raises(Exception, match=r"data\.val_images must be at least 2, got 0"):
        build_annotated("scenes", val_images=0)
