"""Figures hold what they were given."""

import numpy as np
import torch

from project.callbacks.pictures import confusion_figure, learning_rate_figure


def test_a_confusion_matrix_shows_its_counts_and_names_as_they_are() -> None:
    figure = confusion_figure(torch.tensor([[3, 1], [0, 0]]), ["$a$", "b"])
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["3", "1", "0", "0"]
    assert [label.get_text() for label in axes.get_yticklabels()] == [r"\$a\$", "b"]
    assert np.asarray(axes.images[0].get_array()).tolist() == [
        [0.75, 0.25],
        [0, 0],
    ]  # an empty class divides by nothing
    figure.canvas.draw()


def test_many_classes_show_no_counts() -> None:
    assert not confusion_figure(torch.eye(30), [str(i) for i in range(30)]).axes[0].texts


def test_a_range_test_shows_curve_and_proposal() -> None:
    (axes,) = learning_rate_figure([0.1, 1.0], [2.0, 1.0], 0.5).axes
    assert np.asarray(axes.lines[0].get_xydata()).tolist() == [[0.1, 2.0], [1.0, 1.0]]
    assert np.asarray(axes.lines[1].get_xdata()).tolist() == [0.5, 0.5]
    assert len(learning_rate_figure([0.1, 1.0], [2.0, 1.0], None).axes[0].lines) == 1
