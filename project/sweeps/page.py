"""The report's HTML page: whatever it shows stands in it, and its security policy lets it load nothing."""

import math
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

import plotly.io
from optuna.trial import FrozenTrial, TrialState
from plotly.offline import get_plotlyjs

from project.sweeps.claims import attempts_of
from project.sweeps.results import BEST, state_of
from project.sweeps.sections import STATE_COLOURS, Section
from project.sweeps.summary import validations_saved

POLICY = (
    "default-src 'none'; form-action 'none'; base-uri 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline' 'unsafe-eval'"  # for WebGL, with which older Optunas draw, Plotly compiles functions
)
COLOURS = {**{state.lower(): colour for state, colour in STATE_COLOURS.items()}, "rejected": "#9a6cc0"}
ORDER = ("complete", "pruned", "rejected", "fail", "running", "waiting")


@dataclass(frozen=True)
class Told:
    """What the page tells beside the figures.

    Attributes:
        name: of the study.
        folder: of the sweep.
        objectives: their names.
        directions: `maximize` or `minimize`, for each.
        trials: in their order.
        best: the best trial, as `best.yaml` has it; None: none is complete.
        front: the numbers of the trials that are marked: the best, or the Pareto front.
        said: takes out of a text what is not for the page.
    """

    name: str
    folder: Path
    objectives: Sequence[str]
    directions: Sequence[str]
    trials: Sequence[FrozenTrial]
    best: FrozenTrial | None
    front: frozenset[int]
    said: Callable[[str], str]


def page(told: Told, sections: Sequence[Section]) -> str:
    """The page as a text.

    Args:
        told: the study.
        sections: with its figures, in the order of the page.
    """
    first: dict[str, int] = {}
    for number, section in enumerate(sections):
        first.setdefault(section.title, number)
    links = [f'<a href="#s{number}">{escape(title)}</a>' for title, number in first.items()]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(told.name)}: sweep</title>
<style>{_beside("page.css")}</style>
</head>
<body>
<header>
<h1>{escape(told.name)}</h1>
<p class="soft">{escape(_when(told))} · {escape(str(told.folder))}</p>
<ul class="counts">{_counts(told.trials)}</ul>
<nav>{" ".join(links)} <a href="#trials">Trials</a></nav>
</header>
<main>
<div class="pair">
{_best(told)}
{_next(told)}
</div>
{"".join(_section(number, section) for number, section in enumerate(sections))}
<section class="card" id="trials">
<h2>Trials</h2>
<p class="soft">{"The best is" if len(told.objectives) == 1 else "The Pareto front is"} marked. A click on a column's
head sorts by it. In grey: the last value that a trial without a final one has reported.</p>
<div class="rows">{_table(told)}</div>
</section>
</main>
<script>{get_plotlyjs()}</script>
<script>{_beside("page.js")}</script>
</body>
</html>
"""


def _when(told: Told) -> str:
    now = datetime.now()
    began = [trial.datetime_start for trial in told.trials if trial.datetime_start is not None]
    ended = [trial.datetime_complete for trial in told.trials if trial.datetime_complete is not None]
    if not began:
        return f"no trial has begun by {now:%Y-%m-%d %H:%M:%S}"
    if any(not trial.state.is_finished() for trial in told.trials):
        return f"begun {min(began):%Y-%m-%d %H:%M}, not finished by {now:%Y-%m-%d %H:%M:%S}"
    return f"{min(began):%Y-%m-%d %H:%M} to {max(ended):%Y-%m-%d %H:%M}"


def _counts(trials: Sequence[FrozenTrial]) -> str:
    counted = Counter(state_of(trial) for trial in trials)
    whole = f"<li>{len(trials)} trial{'' if len(trials) == 1 else 's'}</li>"
    return whole + "".join(
        f'<li style="--of: {COLOURS[state]}">{counted[state]} {_word(state)}</li>' for state in ORDER if counted[state]
    )


def _best(told: Told) -> str:
    if told.best is None:
        none = "<p>No trial is complete yet, so there is no best one.</p>"
        return f'<section class="card" id="best"><h2>Best trial</h2>{none}</section>'
    first = "" if len(told.objectives) == 1 else f" by {told.objectives[0]}, of {len(told.front)} on the Pareto front"
    values = zip(told.objectives, told.directions, told.best.values, strict=True)
    shown = "<br>".join(f"{escape(name)} {_short(value)}" for name, _, value in values)
    parameters = "".join(
        f'<dt>{_breakable(name)}</dt><dd class="number">{escape(_short(value))}</dd>'
        for name, value in told.best.params.items()
    )
    return f"""<section class="card" id="best">
<h2>Best trial{escape(first)}</h2>
<p class="big">{shown}</p>
<p class="soft">trial {told.best.number}</p>
<dl>{parameters}</dl>
</section>"""


def _next(told: Told) -> str:
    """How to go on from here, and what pruning has saved."""
    file = told.folder / BEST
    if told.best is None:
        again = "<p>There will be a command here once a trial is complete.</p>"
    elif file.is_file():
        again = f"<pre>python -m project.train experiment={escape(shlex.quote(str(file)))}</pre>"
    else:
        again = f"<p>{escape(str(file))} is missing: the sweep's own command writes it.</p>"
    saved, whole = validations_saved(told.trials)
    pruned = (
        f"{saved} of {whole} epochs were not run ({saved / whole:.0%})." if saved else "No epoch was saved by pruning."
    )
    running = sum(trial.state is TrialState.RUNNING for trial in told.trials)
    unfinished = f"{running} trial is" if running == 1 else f"{running} trials are"
    goes_on = f"<p>{unfinished} not finished. python -m project.report writes this page anew.</p>" if running else ""
    return f"""<section class="card" id="next">
<h2>Train the best again</h2>
{again}
<h2>Saved by pruning</h2>
<p>{pruned}</p>
{goes_on}
</section>"""


def _section(number: int, section: Section) -> str:
    plots = "".join(
        f'<div class="wide"><script type="application/json">{_json(drawing.figure)}</script>'
        f'<div class="plot" style="height: {drawing.height}px; min-width: {drawing.least_width}px"></div></div>'
        for drawing in section.drawings
    )
    return f"""<section class="card" id="s{number}">
<h2>{escape(section.title)}{f": {escape(section.of)}" if section.of else ""}</h2>
<p class="soft">{escape(section.text)}</p>
{plots}
</section>
"""


def _json(figure: Any) -> str:
    """A script ends at `</script`, and a comment begins at `<!--`, wherever they stand in it: in strings, too."""
    text: str = plotly.io.to_json(figure, validate=False)
    return text.replace("<", "\\u003c")


def _table(told: Told) -> str:
    names = list(dict.fromkeys(name for trial in told.trials for name in trial.params))
    heads = ["trial", "state", *told.objectives, *names, "duration", "attempts", "what went wrong"]
    head = "".join(f'<th scope="col"><button type="button">{_breakable(name)}</button></th>' for name in heads)
    rows = "".join(_row(told, trial, names) for trial in told.trials)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _row(told: Told, trial: FrozenTrial, names: Sequence[str]) -> str:
    state = state_of(trial)
    count = len(told.objectives)
    values: list[Any] = list(trial.values or [None] * count)
    kind = "number"
    if trial.values is None and trial.last_step is not None:
        values[0], kind = trial.intermediate_values[trial.last_step], "number soft"
    reason = told.said(str(trial.user_attrs.get("error") or trial.user_attrs.get("rejected") or ""))
    seconds = _seconds(trial)
    cells = [
        _cell(trial.number),
        f'<td data-key="{_word(state)}"><span class="state" style="--of: {COLOURS[state]}">{_word(state)}</span></td>',
        *(_cell(value, kind) for value in values),
        *(_cell(trial.params[name]) if name in trial.params else _cell(None) for name in names),
        f'<td class="number" data-key="{"" if seconds is None else seconds}">{_clock(seconds)}</td>',
        _cell(len(attempts_of(trial)) or None),
        f'<td class="told" data-key="{escape(reason)}">{escape(reason)}</td>' if reason else '<td data-key=""></td>',
    ]
    mark = ' class="best"' if trial.number in told.front else ""
    return f"<tr{mark}>{''.join(cells)}</tr>"


def _cell(value: Any, kind: str = "number") -> str:
    if value is None:
        return '<td data-key=""></td>'
    infinite = isinstance(value, float) and math.isinf(value)
    key = str(value).replace("inf", "Infinity") if infinite else str(value)  # as JavaScript reads it
    if isinstance(value, str):
        return f'<td data-key="{escape(key)}">{escape(value)}</td>'
    return f'<td class="{kind}" data-key="{escape(key)}" title="{escape(key)}">{escape(_short(value))}</td>'


def _seconds(trial: FrozenTrial) -> float | None:
    """How long the trial was worked on, without the time between two attempts."""
    attempts = attempts_of(trial)
    if not attempts:
        return None if trial.duration is None else trial.duration.total_seconds()
    now = datetime.now().isoformat()
    spent = (
        datetime.fromisoformat(attempt.get("until") or now) - datetime.fromisoformat(attempt["began"])
        for attempt in attempts
    )
    return round(sum(each.total_seconds() for each in spent), 3)


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 3600)}:{int(seconds // 60 % 60):02}:{int(seconds % 60):02}"


def _word(state: str) -> str:
    return "failed" if state == "fail" else state


def _short(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if 10_000 <= abs(value) < 1e15 else f"{value:.5g}"


def _breakable(name: str) -> str:
    """A dotted name that may be broken after its dots."""
    return escape(name).replace(".", ".<wbr>")


def _beside(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
