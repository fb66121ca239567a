"""Pictures for TensorBoard and for files."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor


def confusion_figure(confusion: Tensor, classes: Sequence[str]) -> Figure:
    """Rows are true classes, columns predicted ones, colours the share of the row; up to 20 classes show their counts.

    Args:
        confusion: (K, K) counts.
        classes: K names.
    """
    counts = confusion.double().numpy()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(14.0, max(5.0, 1.6 + 0.5 * len(classes)))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    # names come from data: no mathematics is to be read into a dollar sign
    names = [name.replace("$", r"\$") for name in classes]
    if len(classes) <= 100:
        size = 9 if len(classes) <= 20 else 5
        axes.set_xticks(range(len(classes)), names, rotation=90, fontsize=size)
        axes.set_yticks(range(len(classes)), names, fontsize=size)
    if len(classes) <= 20:
        for (row, column), share in np.ndenumerate(shares):
            colour = "white" if share > 0.5 else "black"
            axes.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", color=colour, fontsize=8)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    return figure


def learning_rate_figure(rates: Sequence[float], losses: Sequence[float], proposal: float | None) -> Figure:
    """The loss of a learning-rate range test against the rate, with the proposed rate."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(rates, losses)
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss (smoothed)")
    if proposal is not None:
        axes.axvline(proposal, color="tab:red", linestyle="--", label=f"proposed: {proposal:.2g}")
        axes.legend()
    axes.grid(alpha=0.3)
    return figure
