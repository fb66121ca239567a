"""Pictures and questions against answers that are found out anew, from the pixels and the words."""

import numpy as np
import pytest
import torch

from project.data.sort_of_clevr import COLOURS, KINDS, SortOfClevr, draw, half_side, place, solve

SIZE = 48


@pytest.fixture(scope="module")
def data() -> SortOfClevr:
    module = SortOfClevr(train_images=40, test_images=10, image_size=SIZE, shift=0, batch_size=8, eval_batch_size=8)
    module.setup()
    return module


def figures(image: np.ndarray) -> dict[str, tuple[np.ndarray, str]]:
    """The centre (y, x) and the shape of each colour's figure, as they are seen in a picture (H, W, 3)."""
    found = {}
    for name, colour in COLOURS.items():
        rows, columns = np.nonzero((image == colour).all(-1))
        side = 2 * half_side(SIZE) + 1
        assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (side, side)  # whole: nothing lies on it
        shape = "square" if len(rows) == side**2 else "circle"
        found[name] = np.array([rows.min() + rows.max(), columns.min() + columns.max()]) / 2, shape
    return found


def answer(question: str, seen: dict[str, tuple[np.ndarray, str]]) -> str:
    """What a person says who measures the picture."""
    (colour,) = [name for name in seen if name in question.split()]
    centre, shape = seen[colour]
    distances = {name: float(np.square(other - centre).sum()) for name, (other, _) in seen.items() if name != colour}
    if "closest" in question:
        return seen[min(distances, key=lambda name: distances[name])][1]
    if "furthest" in question:
        return seen[max(distances, key=lambda name: distances[name])][1]
    if question.startswith("how many"):
        return str(sum(own == shape for _, own in seen.values()))
    if "left" in question or "top" in question:
        return "yes" if centre[1 if "left" in question else 0] < SIZE / 2 else "no"
    return shape


def test_every_answer_is_that_of_the_picture(data: SortOfClevr) -> None:
    images, ids, lengths, owner, kinds, answers, credits = next(iter(data.test_dataloader()))
    mean, std = (torch.tensor(part).view(3, 1, 1) for part in (data.mean, data.std))
    pixels = ((images * std + mean) * 255).round().permute(0, 2, 3, 1).numpy().astype(np.uint8)
    seen = [figures(picture) for picture in pixels]
    for m, place_ in enumerate(owner.tolist()):
        question = data.vocabulary.decode(ids[: lengths[m], m].tolist())
        expected = answer(question.replace("?", ""), seen[place_])
        assert data.classes[answers[m, 0]] == expected, question
        related = any(word in question for word in ("closest", "furthest", "how many"))
        assert KINDS[kinds[m]] == ("relational" if related else "non_relational")
    assert credits.eq(1).all()


def test_each_picture_has_ten_questions_of_each_kind_none_twice(data: SortOfClevr) -> None:
    _, ids, _, owner, kinds, *_ = next(iter(data.train_dataloader()))
    assert torch.bincount(owner).tolist() == [20] * 8
    for picture in range(8):
        own = ids[:, owner == picture]
        assert len({tuple(column) for column in own.T.tolist()}) == 20
        assert torch.bincount(kinds[owner == picture]).tolist() == [10, 10]


def test_sizes_and_parts(data: SortOfClevr) -> None:
    assert data.sizes["image_shape"] == [3, SIZE, SIZE]
    assert (data.sizes["num_classes"], data.sizes["kinds"]) == (10, list(KINDS))
    assert data.counts == {"train": 36, "val": 4, "test": 10}
    assert data.samples_per_batch == 160


def test_equal_distances_and_figures_are_told_as_the_law_says() -> None:
    centres = np.array([[[20, 10], [20, 30], [5, 5], [40, 40], [40, 10], [5, 40]]])
    shapes = np.array([[0, 1, 1, 1, 1, 0]])
    solved = solve(centres, shapes, SIZE)[0]
    closest, furthest, alike, shape, left, top = solved.tolist()
    assert closest[0] == 3  # the green circle is 20 away, the blue one 15.8
    assert furthest[0] == 3  # the grey circle, diagonally
    assert alike == [5, 7, 7, 7, 7, 5]  # two squares, four circles
    assert shape == [2, 3, 3, 3, 3, 2]
    assert left == [0, 1, 0, 1, 0, 1]
    assert top == [0, 0, 0, 1, 1, 0]


def test_pictures_are_a_function_of_the_seed_and_figures_never_touch() -> None:
    centres, shapes = place(200, 75, np.random.default_rng(1))
    again = place(200, 75, np.random.default_rng(1))
    assert np.array_equal(centres, again[0])
    assert np.array_equal(shapes, again[1])
    apart = np.abs(centres[:, :, None] - centres[:, None]).max(-1)
    assert apart[:, ~np.eye(6, dtype=bool)].min() == 11  # of figures 11 pixels wide
    pictures = draw(centres, shapes, 75)
    white = (pictures == 255).all(-1).sum((1, 2))
    circle = int((np.hypot(*np.mgrid[-5:6, -5:6]) <= 5.3).sum())
    assert np.array_equal(white, 75**2 - 6 * 121 + (121 - circle) * shapes.sum(1))


@pytest.mark.parametrize(
    ("argument", "value", "law"),
    [
        ("train_images", 9, "data.train_images must be at least 10, got 9"),
        ("test_images", 0, "data.test_images must be at least 1, got 0"),
        ("image_size", 31, "data.image_size must be at least 32 pixels, got 31"),
        ("min_count", 0, "data.min_count must be at least 1, got 0"),
        ("max_length", 0, "data.max_length must be at least 1 word, got 0"),
    ],
)
def test_laws(argument: str, value: int, law: str) -> None:
    with pytest.raises(ValueError, match=law):
        SortOfClevr(**{argument: value})
