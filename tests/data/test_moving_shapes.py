"""What the generated videos show, and that a frame alone does not tell what needs memory."""

import numpy as np
import pytest

from project.data.moving_shapes import APART, COLOURS, RADIUS, SIDE, TOUCHING, MovingShapes, draw, label, move

SHORT, LONG = 8, 24


@pytest.fixture(scope="module")
def scenes():  # type: ignore[no-untyped-def]
    return move(np.random.default_rng(0), 3000, LONG)


def gaps(scenes) -> np.ndarray:  # type: ignore[no-untyped-def]
    """(T, n) distances; infinite until both are there."""
    distances = np.hypot(*np.moveaxis(scenes.places[:, 1] - scenes.places[:, 0], -1, 0))
    return np.where(np.arange(LONG)[:, None] >= scenes.entries[1], distances, np.inf)


def test_two_figures_meet_clearly_or_are_clearly_apart(scenes) -> None:  # type: ignore[no-untyped-def]
    distances = gaps(scenes)
    touching = distances < TOUCHING + 0.01
    assert distances[~touching].min() > TOUCHING + 0.9
    assert (distances[~touching] > APART - 2).mean() > 0.995
    assert touching.any(0).mean() > 0.9  # of such long videos
    begins = touching & ~np.concatenate([np.zeros((1, 3000), bool), touching[:-1]])
    assert np.array_equal(begins.cumsum(0), scenes.met)
    assert scenes.places.min() >= RADIUS
    assert scenes.places.max() <= SIDE - 1 - RADIUS


def test_figures_come_from_outside_one_after_the_other(scenes) -> None:  # type: ignore[no-untyped-def]
    assert (scenes.entries[1] > scenes.entries[0]).all()
    assert scenes.entries.max() < SHORT
    for figure in range(2):
        at = scenes.places[scenes.entries[figure], figure, np.arange(3000)]
        assert np.isclose(np.abs(at - (SIDE - 1) / 2).max(1), (SIDE - 1) / 2 - RADIUS).all()  # at one of the sides


def test_labels_of_every_frame() -> None:
    scenes = move(np.random.default_rng(1), 1, 10)
    first, second = scenes.entries[:, 0]
    colours = np.array([[2], [0]])
    expected = [0] * first + [3] * (10 - first)
    assert label(scenes, colours, "first")[:, 0].tolist() == expected
    assert label(scenes, colours, "count")[:, 0].tolist() == [int(t >= first) + int(t >= second) for t in range(10)]
    meetings = label(scenes, colours, "meetings")[:, 0]
    assert meetings.tolist() == np.minimum(scenes.met[:, 0], 3).tolist()


def test_frames_show_what_the_labels_say() -> None:
    """Saturated pixels are a figure's; the colour that is seen first is the label `first`."""
    videos, counts = (draw(40, 3, labels, (SHORT, 12)) for labels in ("first", "count"))
    assert np.array_equal(videos.frames, counts.frames)
    pixels = videos.frames.astype(int)
    coloured = (pixels.max(-1) - pixels.min(-1) > 90).sum((1, 2)) > 8  # (M,)
    assert (coloured == (counts.labels > 0)).mean() > 0.99
    palette = np.array(list(COLOURS.values()))
    for video in range(40):
        own = slice(videos.starts[video], videos.starts[video + 1])
        at = int(np.flatnonzero(counts.labels[own] == 1)[0])  # the first figure alone
        frame = pixels[own][at].reshape(-1, 3)
        strongest = frame[np.argsort(frame.max(1) - frame.min(1))[-6:]].mean(0)
        assert np.square(palette - strongest).sum(1).argmin() + 1 == videos.labels[own][at]
        assert set(videos.labels[own][at:].tolist()) == {int(videos.labels[own][at])}


def test_which_of_two_figures_was_first_has_nothing_to_do_with_their_looks() -> None:
    from project.data.moving_shapes import Looks

    looks = Looks(np.random.default_rng(0), 40_000)
    first, second = looks.colours
    assert (first != second).all()
    for one in range(4):
        for other in range(one):
            both = ((first == one) & (second == other)) | ((first == other) & (second == one))
            assert abs((first[both] == one).mean() - 0.5) < 0.02
    assert abs((looks.on_top == 0).mean() - 0.5) < 0.01
    assert abs(np.corrcoef(looks.kinds[0], first)[0, 1]) < 0.02


def test_the_same_videos_in_every_run() -> None:
    one, same, other = (draw(20, seed, "meetings", (8, 10)) for seed in (1, 1, 2))
    assert np.array_equal(one.frames, same.frames)
    assert np.array_equal(one.labels, same.labels)
    assert not np.array_equal(one.frames[:50], other.frames[:50])
    assert set(one.lengths.tolist()) == {8, 9, 10}


@pytest.mark.parametrize(
    ("arguments", "law"),
    [
        ({"labels": "last"}, "data.labels must be one of first, meetings, count, got last"),
        ({"train_videos": 19}, "data.train_videos must be at least 20, got 19"),
        ({"test_videos": 9}, "data.test_videos must be at least 10, got 9"),
        ({"shortest": 7}, "data.shortest must be at least 8 frames, got 7"),
        ({"shortest": 9, "longest": 8}, "data.longest must be at least data.shortest=9 frames, got 8"),
    ],
)
def test_laws_of_the_arguments(arguments: dict, law: str) -> None:
    with pytest.raises(ValueError, match=law):
        MovingShapes(**arguments)
