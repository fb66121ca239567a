"""What is shown of translations: text and attention."""

from pathlib import Path

import torch
from PIL import Image

from project.callbacks.translations import attention_figure, said
from project.tasks.translation import Example


def test_an_attention_figure_shows_weights_and_words_as_they_are() -> None:
    weights = torch.tensor([[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]])
    figure = attention_figure(weights, ["$x$", "b\x1b", "</s>"], ["eins", "</s>"])
    axes = figure.axes[0]
    assert axes.images[0].get_array().tolist() == weights.tolist()  # type: ignore[union-attr]
    assert [label.get_text() for label in axes.get_yticklabels()] == [r"\$x\$", r"b\x1b", "</s>"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["eins", "</s>"]
    figure.canvas.draw()


def test_pictures_are_of_a_sensible_size(tmp_path: Path) -> None:
    attention_figure(torch.ones(40, 50) / 50, ["word"] * 40, ["wort"] * 50).savefig(tmp_path / "picture.png")
    assert max(Image.open(tmp_path / "picture.png").size) < 2500


def test_an_example_is_three_lines() -> None:
    example = Example("ein\nMann", "a <b>man</b>", "", [4], [])
    assert said(example) == "source       ein Mann\nreference    a <b>man</b>\ntranslation  "
