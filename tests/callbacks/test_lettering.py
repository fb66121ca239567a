"""Text as pixels: whatever it holds is seen, on the colours that were asked for."""

import numpy as np
import pytest

from project.callbacks.lettering import HEIGHT, ORANGE, RED_TO_BLUE, WIDTH, below, beside, cut, shade, typeset


def test_colours_go_from_the_first_to_the_last() -> None:
    assert shade(np.array([0.0, 1.0])).tolist() == [[255, 255, 255], [8, 48, 107]]
    values = np.array([[-1.0, 0.5], [0.25, np.nan]])
    assert shade(values, RED_TO_BLUE).tolist() == [
        [[202, 0, 32], [255, 255, 255]],
        [[244, 165, 130], [202, 0, 32]],
    ]


def test_each_letter_stands_in_a_cell_of_its_colour() -> None:
    colours = np.array([[[255, 255, 255], [8, 48, 107]], [[200, 0, 0], [0, 200, 0]]], np.uint8)
    picture = typeset(["II", " "], colours)
    assert picture.shape == (2 * HEIGHT, 2 * WIDTH, 3)
    cells = picture.reshape(2, HEIGHT, 2, WIDTH, 3).swapaxes(1, 2)
    assert np.array_equal(cells[:, :, 0, 0], colours)
    assert cells[0, 0].min() == 20  # dark letters on white
    assert cells[0, 1].max() == 255  # white ones on dark blue
    assert (cells[1] == colours[1][:, None, None]).all()  # nothing is written
    marked = typeset(["ab"], marked=np.array([[False, True]]))
    assert (marked[-2:, WIDTH:] == ORANGE).all()
    assert (marked[-1, :WIDTH] == 255).all()


def drawn(character: str) -> list[str]:
    """The rows of a cell, # for ink, without those that are empty."""
    rows = ["".join("#" if pixel < 128 else "." for pixel in row) for row in typeset([character])[..., 0]]
    return [row for row in rows if "#" in row]


def test_what_has_no_form_is_seen_by_its_number() -> None:
    assert drawn("\x1b") == [
        "..#..##..",
        ".##..#.#.",
        "..#..##..",
        "..#..#.#.",
        ".###.##..",
    ]
    assert drawn("\udcc3") == [
        "..##.###.",
        ".#.....#.",
        ".#....##.",
        ".#.....#.",
        "..##.###.",
    ]  # the byte C3
    for character in "中\u0301\u202e\u2028\ud800\U0001f600\0\x7f":
        assert len(drawn(character)) in (5, 10, 15), ascii(character)
    assert drawn("\n") == drawn("↵")
    assert drawn(" ") == []


@pytest.mark.parametrize("character", list("aéЖλ�$<&"))
def test_letters_of_most_alphabets_have_their_form(character: str) -> None:
    assert 3 < len(drawn(character)) < 18
    assert not np.array_equal(typeset([character]), typeset(["\x1b"]))


def test_pictures_stand_below_and_beside_each_other() -> None:
    black, grey = np.zeros((2, 3, 3), np.uint8), np.full((1, 2, 3), 100, np.uint8)
    assert below([black, grey], gap=1, margin=1)[..., 0].tolist() == [
        [255, 255, 255, 255, 255],
        [255, 0, 0, 0, 255],
        [255, 0, 0, 0, 255],
        [255, 255, 255, 255, 255],
        [255, 100, 100, 255, 255],
        [255, 255, 255, 255, 255],
    ]
    assert beside([black, grey], gap=1)[..., 0].tolist() == [[0, 0, 0, 255, 100, 100], [0, 0, 0, 255, 255, 255]]


def test_long_text_is_cut() -> None:
    assert (cut("abcd", 4), cut("abcde", 4)) == ("abcd", "abc…")
    assert (typeset([""]) == 255).all()
