"""What a language model expects over a passage: probabilities, guesses, and the picture of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from project.callbacks.lettering import HEIGHT, ORANGE, WIDTH, shade, typeset
from project.callbacks.passage import Expected, expected, passage_picture
from project.data.streams import HeldOutStreams
from project.data.vocabulary import Vocabulary
from project.errors import UserError
from project.nets.cells import LSTM
from project.nets.language_model import LanguageModel
from project.tasks.language_model import LanguageModelling
from project.train import train
from tests.runs.text import tiny_text


def test_it_is_what_validation_measures() -> None:
    torch.manual_seed(0)
    net = LanguageModel(5, LSTM, 6, 2).eval()
    ids = torch.randint(5, (30,)).numpy()
    found = expected(net, ids.tolist(), guesses=3)
    task = LanguageModelling(net)
    with torch.no_grad():
        total = sum(task.measure(batch, "val")[1][0] for batch in HeldOutStreams(ids, 1, 8).batches(0, 0))
        logits, _ = net(torch.from_numpy(ids)[:-1, None])
    assert -np.log(found.probabilities).sum() == pytest.approx(float(total), rel=1e-5)
    theirs, best = logits[:, 0].softmax(-1).topk(3)
    assert found.guesses.tolist() == best.tolist()
    np.testing.assert_allclose(found.theirs, theirs.numpy(), rtol=1e-5)
    assert expected(net, [0, 1], guesses=9).guesses.shape == (1, 5)  # as many as there are


def test_a_picture_has_a_cell_for_each_token_and_guess() -> None:
    vocabulary = Vocabulary.build("ab\n", "characters")  # 1 newline, 2 a, 3 b
    found = Expected(
        np.array([0.0, 0.5, 1.0]), np.array([[2, 3], [3, 1], [2, 1]]), np.array([[0.75, 0.25], [0.5, 0.25], [1, 0]])
    )
    picture = passage_picture(vocabulary, [2, 3, 1, 2], found, columns=3)
    margin = gap = HEIGHT // 2
    top = margin + HEIGHT + gap
    text, guesses = picture[top : top + HEIGHT], picture[top + HEIGHT + 2 : top + 3 * HEIGHT + 2]
    assert text[0, margin + WIDTH * np.arange(3)].tolist() == [[255] * 3, *shade(np.array([0.0, 0.5])).tolist()]
    wanted = np.array([[[255] * 3, *shade(row)] for row in (np.array([0.75, 0.5]), np.array([0.25, 0.25]))], np.uint8)
    right = np.array([[False, False, False], [False, True, True]])  # b was guessed second, and so was the newline
    lines = typeset([" ab", " b\n"], wanted, right)
    assert np.array_equal(guesses[:, margin : margin + 3 * WIDTH], lines)
    second = top + 3 * HEIGHT + 2 + gap
    assert picture[second, margin].tolist() == shade(np.array([1.0])).tolist()[0]
    assert (picture[second + HEIGHT + 2 + HEIGHT - 1, margin : margin + WIDTH] == ORANGE).all()
    assert len(picture) == second + 3 * HEIGHT + 2 + margin


def test_words_have_room_and_are_cut() -> None:
    vocabulary = Vocabulary.build("the incomprehensibilities", "words")
    found = Expected(np.array([0.5]), np.array([[2]]), np.array([[0.5]]))
    picture = passage_picture(vocabulary, [2, 1], found, columns=22)
    top, margin = 2 * HEIGHT, HEIGHT // 2
    half = shade(np.full((1, 10), 0.5))
    wanted = typeset(["the        incomprehensibilities"[:11] + "incompreh… "], np.insert(
        np.concatenate([np.full((1, 10, 3), 255, np.uint8), half], 1), [10, 20], 255, 1))  # fmt: skip
    assert np.array_equal(picture[top : top + HEIGHT, margin : margin + 22 * WIDTH], wanted)


@pytest.mark.slow
@pytest.mark.parametrize("tokens", ["characters", "bytes", "words"])
def test_tensorboard_shows_it_at_validations(tmp_path: Path, tokens: str) -> None:
    train(tiny_text(tmp_path, f"data.tokens={tokens}", "callbacks.samples=null", "data.batch_size=2"))
    images = EventAccumulator(str(tmp_path / "run"), size_guidance={"images": 0}).Reload().Images("passage")
    assert len(images) == 2
    assert images[0].encoded_image_string != images[1].encoded_image_string


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"callbacks\.passage\.tokens must be at least 2, got 1"):
        train(tiny_text(tmp_path, "callbacks.passage.tokens=1"))
