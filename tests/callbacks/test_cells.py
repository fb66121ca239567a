"""What cells keep over a passage: exact values, chosen units, and the picture of them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from project.callbacks.cells import activations, cells_picture, most_varied
from project.callbacks.lettering import HEIGHT, RED_TO_BLUE, WIDTH, shade, typeset
from project.errors import UserError
from project.nets.cells import GRU, LSTM
from project.nets.language_model import LanguageModel
from project.train import train
from tests.runs.text import tiny_text


def test_it_is_tanh_of_c_of_an_lstm_and_h_of_others() -> None:
    torch.manual_seed(0)
    ids = [1, 0, 4, 2]
    for cell in (LSTM, GRU):
        net = LanguageModel(5, cell, 6, 2).eval()
        embedded = net.embedding(torch.tensor(ids))[:, None]
        _, hidden = net.recurrent.unrolled(embedded)
        _, states = net.recurrent(embedded)
        for layer in range(2):
            values = activations(net, ids, layer)
            assert values.shape == (4, 6)
            if cell is GRU:
                np.testing.assert_allclose(values, torch.cat(hidden[layer]).detach().numpy(), rtol=1e-6)
            else:
                np.testing.assert_allclose(values[-1], states[layer][1][0].tanh().detach().numpy(), rtol=1e-5)


def test_units_that_vary_the_most_are_chosen() -> None:
    values = np.array([[0.0, 0.5, -1.0], [0.1, -0.5, 1.0]])
    assert most_varied(values, 2) == [2, 1]
    assert most_varied(values, 9) == [2, 1, 0]


def test_a_picture_has_a_passage_for_each_unit() -> None:
    first, second = np.array([-1.0, 0.0, 1.0]), np.array([1.0, 1.0, -1.0])
    picture = cells_picture(["a", "\n", "b"], {"unit 0": first, "unit 1": second}, spaced=False)
    top, left = 2 * HEIGHT + HEIGHT, HEIGHT // 2
    colours = np.full((2, 2, 3), 255, np.uint8)
    for values in (first, second):
        title = picture[top - HEIGHT : top, left : left + 6 * WIDTH]
        colours[[0, 0, 1], [0, 1, 0]] = shade((values + 1) / 2, RED_TO_BLUE)
        passage = picture[top : top + 2 * HEIGHT, left : left + 2 * WIDTH]
        assert np.array_equal(passage, typeset(["a\n", "b"], colours))
        assert np.array_equal(title, typeset([f"unit {0 if values is first else 1}"]))
        left += 6 * WIDTH + 2 * WIDTH  # they stand beside each other


def test_long_passages_end_and_long_tokens_are_cut() -> None:
    tokens = ["word" * 50, "\n"] * 100
    picture = cells_picture(tokens, {"unit 0": np.zeros(200)}, spaced=True)
    assert picture.shape[0] == HEIGHT + HEIGHT // 2 + (1 + 16) * HEIGHT + 2 * (HEIGHT // 2)
    assert picture.shape[1] <= 85 * WIDTH


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["callbacks.cells.layer=2"], r"callbacks\.cells\.layer must be from 0 to 1, or -1: the last; got 2"),
        (["callbacks.cells.units=[1,8]"], r"callbacks\.cells\.units must be numbers from 0 to 7, got \[8\]"),
        (["callbacks.cells.count=0"], r"callbacks\.cells\.count must be at least 1, got 0"),
    ],
)
def test_mistakes(tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        train(tiny_text(tmp_path, "callbacks=[cells]", *words))
    assert not (tmp_path / "run").exists()
