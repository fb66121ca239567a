"""What is shown of translations: text and attention."""

import numpy as np
import torch

from project.callbacks.lettering import HEIGHT, WIDTH, shade, typeset
from project.callbacks.translations import attention_picture, said
from project.tasks.translation import Example


def test_an_attention_picture_shows_weights_and_words_as_they_are() -> None:
    weights = torch.tensor([[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]])
    picture = attention_picture(weights, ["$x$", "b\x1b", "</s>"], ["eins", "</s>"])
    margin = HEIGHT // 2
    left, top = margin + 5 * WIDTH, margin + 5 * WIDTH
    assert picture.shape == (top + 3 * HEIGHT + margin, left + 2 * HEIGHT + margin, 3)
    centres = picture[top + HEIGHT // 2 :: HEIGHT, left + HEIGHT // 2 :: HEIGHT][:3, :2]
    assert np.array_equal(centres, shade(weights.numpy()))
    rows = picture[top : top + 3 * HEIGHT, margin:left]
    assert np.array_equal(rows, typeset([" $x$ ", "  b\x1b ", "</s> "]))
    columns = np.rot90(picture[margin:top, left : left + 2 * HEIGHT], -1)
    assert np.array_equal(columns, typeset([" eins", " </s>"]))


def test_pictures_are_of_a_sensible_size() -> None:
    picture = attention_picture(torch.ones(80, 90) / 90, ["words" * 9] * 80, ["wort"] * 90)
    assert picture.shape == ((60 + 1) * HEIGHT + 5 * WIDTH, (60 + 1) * HEIGHT + 21 * WIDTH, 3)


def test_an_example_is_three_lines() -> None:
    example = Example("ein\nMann", "a <b>man</b>", "", [4], [])
    assert said(example) == "source       ein Mann\nreference    a <b>man</b>\ntranslation  "
