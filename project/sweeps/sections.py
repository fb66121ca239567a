"""What the report of a sweep is made of: drawings with a sentence on how to read them, or why there are none."""

from collections.abc import Callable
from dataclasses import dataclass

import plotly.graph_objects as go

STATE_COLOURS = {  # legible on white and on near-black
    "COMPLETE": "#4c86c6",
    "PRUNED": "#d9952b",
    "FAIL": "#d0453e",
    "RUNNING": "#3f9a5a",
    "WAITING": "#8d949e",
}


@dataclass(frozen=True)
class Drawing:
    """A figure of Plotly's, its height and the width below which it is scrolled sideways, in pixels."""

    figure: go.Figure
    height: int
    least_width: int = 0


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: its heading, plain text.
        of: which of several objectives it shows; "": the only one, or all.
        text: how to read the drawings; without any, why there are none. Plain text.
        drawings: one below the other.
    """

    title: str
    of: str
    text: str
    drawings: tuple[Drawing, ...] = ()


Made = tuple[str, tuple[Drawing, ...]]  # a section's text and drawings


class NotYet(Exception):
    """The figure cannot be made of these trials; the text says why."""


def section(title: str, make: Callable[[], Made], of: str = "") -> Section:
    """What `make` makes, or why it could not."""
    try:
        text, drawings = make()
    except NotYet as reason:
        return Section(title, of, str(reason))
    except Exception as error:  # what Optuna or Plotly stumbles over must not cost the whole page
        return Section(title, of, f"This figure could not be drawn ({type(error).__name__}: {error}).")
    for drawing in drawings:
        layout = drawing.figure.layout
        layout.template = None  # the page has one for all, which follows the browser's light or dark mode
        layout.title = layout.width = layout.plot_bgcolor = None
    return Section(title, of, text, drawings)
