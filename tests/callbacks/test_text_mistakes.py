"""Mistakes of a classifier of sentences: the surest first, and shown as they are."""

import re
from html import unescape
from pathlib import Path

import pytest
import torch
from tensorboard import plugin_util
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from project.callbacks.text_mistakes import Mistake, TextMistakes, mistakes
from project.callbacks.verbatim import verbatim
from project.data.vocabulary import Vocabulary
from project.errors import UserError
from project.train import train
from tests.runs.text import tiny_opinions


def test_wrong_answers_with_the_highest_probabilities_are_kept() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.25, 0.75], [0.6, 0.4], [0.05, 0.95]])
    ids = torch.arange(12).view(3, 4)
    lengths, labels = torch.tensor([3, 2, 1, 3]), torch.tensor([0, 0, 1, 0])
    found = mistakes(probabilities.log(), ids, lengths, labels, 2)
    assert [mistake[1:] for mistake in found] == [(1, 0, [3, 7, 11]), (1, 0, [1, 5])]
    assert [mistake.probability for mistake in found] == pytest.approx([0.95, 0.75])
    assert len(mistakes(probabilities.log(), ids, lengths, labels, 9)) == 3


def test_a_table_shows_them_as_they_are() -> None:
    callback = TextMistakes(length=24)
    assert callback.table() == ["no mistakes"]
    words = ["<b>bold</b>", "|", "[a](http://b)", "x"]
    callback.vocabulary = Vocabulary(["<unk>", *words], "words")
    callback.classes = ["neg|ative", "posi\x1btive"]
    callback.worst = [Mistake(0.99987, 1, 0, [1, 2, 3]), Mistake(0.5, 0, 1, [0, 4])]
    lines = callback.table()
    assert lines == [
        "probability  predicted     true          sentence",
        r"0.9999       posi\x1btive  neg|ative     <b>bold</b> | [a](http:…",
        r"0.5000       neg|ative     posi\x1btive  <unk> x",
    ]
    page = plugin_util.markdown_to_safe_html(verbatim("\n".join(lines)))
    match = re.fullmatch(r"<pre><code>(.*)\n</code></pre>", page, re.DOTALL)
    assert match is not None, page
    assert unescape(match[1]) == "\n".join(lines)
    assert "<" not in match[1]


@pytest.mark.slow
def test_tensorboard_shows_those_of_the_validation(tmp_path: Path) -> None:
    train(tiny_opinions(tmp_path, "callbacks.text_mistakes.count=100"))
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"tensors": 0, "scalars": 0}).Reload()
    tables = [
        event.tensor_proto.string_val[0].decode().split("\n") for event in events.Tensors("mistakes/text_summary")
    ]
    accuracies = [event.value for event in events.Scalars("val/accuracy")]
    assert len(tables) == len(accuracies) == 2
    for lines, accuracy in zip(tables, accuracies, strict=True):
        rows = [line.split() for line in lines[1:]]
        assert len(rows) == round(12 * (1 - accuracy))
        assert all(predicted != true for _, predicted, true, *_ in rows)
        assert [row[0] for row in rows] == sorted((row[0] for row in rows), reverse=True)


def test_arguments_out_of_range(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"callbacks\.text_mistakes\.count must be at least 1, got 0"):
        train(tiny_opinions(tmp_path, "callbacks.text_mistakes.count=0"))
