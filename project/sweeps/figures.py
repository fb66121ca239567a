"""Optuna's figures of a study, each with a sentence on how to read it, or with the reason why there is none yet."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from itertools import combinations
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna import visualization
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState
from plotly.colors import sample_colorscale

from project.sweeps.frozen import quiet, study_of
from project.sweeps.sections import STATE_COLOURS, Drawing, Made, NotYet, Section, section

LINES = 200  # trials that are drawn as a line each; a browser is slow with more
SURFACE = 100  # trials behind a contour plot: its grids grow with their square
SURFACES = 4  # parameters of a contour plot
COLUMNS = 4  # slices in a row
PAIRS = 6  # of objectives, of which a front is drawn
FEW = 4  # complete trials, with fewer of which importances are noise
RANKED = ["#aab2bd", "#8f9fb3", "#4c86c6", "#d9952b"]  # from the worst to the best, on white and on near-black


@dataclass(frozen=True)
class Goal:
    """One objective of a study: its name, its place among the values, and whether it is the only one."""

    name: str
    index: int
    maximize: bool
    alone: bool

    def value(self, trial: FrozenTrial) -> float:
        return float(trial.values[self.index])

    def loss(self, trial: FrozenTrial) -> float:
        """Lower is better."""
        return -self.value(trial) if self.maximize else self.value(trial)

    def arguments(self) -> dict[str, Any]:
        """What Optuna's figures are told of it; only without a `target` do they know which direction is better."""
        return {"target_name": escape(self.name), **({} if self.alone else {"target": self.value})}


def sections(study: optuna.Study, objectives: Sequence[str]) -> list[Section]:
    """Every figure of a `frozen` study.

    Args:
        objectives: the names of what it optimises.
    """
    goals = [
        Goal(name, index, direction == "maximize", len(objectives) == 1)
        for index, (name, direction) in enumerate(zip(objectives, _directions(study), strict=True))
    ]
    complete = [trial for trial in study.get_trials(deepcopy=False) if _is_complete(trial)]

    def each(title: str, make: Callable[[optuna.Study, Goal, list[FrozenTrial]], Made]) -> list[Section]:
        return [section(title, partial(make, study, goal, complete), "" if goal.alone else goal.name) for goal in goals]

    with quiet():
        return [
            *([section("Pareto front", lambda: _pareto(study, goals, complete))] if len(goals) > 1 else []),
            *each("History", _history),
            section("Intermediate values", lambda: _intermediate(study, goals)),
            *each("Importance of the parameters", _importances),
            *each("Parallel coordinates", _parallel),
            *each("Slices", _slices),
            *each("Contours", _contours),
            section("Timeline", lambda: _timeline(study)),
        ]


def _history(study: optuna.Study, goal: Goal, complete: list[FrozenTrial]) -> Made:
    _need(complete)
    figure = visualization.plot_optimization_history(study, **goal.arguments())
    best = "; the line is the best so far" if goal.alone else ""
    better = "higher" if goal.maximize else "lower"
    return f"The value of every complete trial{best}. {better.capitalize()} is better.", (Drawing(figure, 380),)


def _intermediate(study: optuna.Study, goals: list[Goal]) -> Made:
    if len(goals) > 1:
        raise NotYet("With several objectives Optuna keeps no values of single validations, and no trial is pruned.")
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
    reported = [trial for trial in study.get_trials(deepcopy=False, states=states) if trial.intermediate_values]
    if not reported:
        raise NotYet("No trial has reported a validation yet.")
    sign = -1 if goals[0].maximize else 1

    def last(trial: FrozenTrial) -> float:
        return sign * trial.intermediate_values[max(trial.intermediate_values)]

    finite = [trial for trial in reported if math.isfinite(last(trial))]
    drawn = sorted(sorted(finite, key=last)[:LINES], key=lambda trial: trial.number)
    figure = visualization.plot_intermediate_values(study_of(drawn, _directions(study)))
    best = min((trial for trial in drawn if _is_complete(trial)), key=goals[0].loss, default=None)
    for trace, trial in zip(figure.data, drawn, strict=True):
        trace.name = f"Trial {trial.number} ({trial.state.name.lower()})"
        trace.marker = {"size": 4, "maxdisplayed": 10, "color": STATE_COLOURS[trial.state.name]}
        trace.line = {"width": 3 if trial is best else 1.2, "color": STATE_COLOURS[trial.state.name]}
        trace.opacity = 1 if trial is best else 0.5
    figure.layout.xaxis.title = "Validation"
    figure.layout.yaxis.title = escape(goals[0].name)
    text = "Every validation: of complete trials blue, of the best bold, of pruned ones orange, of running ones green."
    text += _of_many(len(drawn), len(reported))
    return text, (Drawing(figure, 380),)


def _importances(study: optuna.Study, goal: Goal, complete: list[FrozenTrial]) -> Made:
    varied = _varied(complete)
    _need(complete, FEW, "to tell importances")
    if len(varied) < 2:
        raise NotYet("Fewer than two parameters varied, so there is nothing to weigh against each other.")
    if len({goal.value(trial) for trial in complete}) == 1:
        raise NotYet("All complete trials have the same value, so no parameter has made a difference.")
    target = None if goal.alone else goal.loss  # with a target, low is taken for good
    figure = visualization.plot_param_importances(
        study, PedAnovaImportanceEvaluator(), varied, target=target, target_name=escape(goal.name)
    )
    figure.layout.xaxis.title = "Share of the difference between the best tenth and all"
    figure.layout.yaxis.title = None
    figure.layout.yaxis.automargin = True
    text = "What set the best tenth of the trials apart (PED-ANOVA). Of few trials this is a hint, not a measurement."
    return text, (Drawing(figure, 120 + 30 * len(varied)),)


def _parallel(study: optuna.Study, goal: Goal, complete: list[FrozenTrial]) -> Made:
    _need(complete)
    names = _varied(complete)
    if not names:
        raise NotYet("No parameter has had two values in complete trials yet.")
    drawn = sorted(complete, key=goal.loss)[:LINES]
    figure = visualization.plot_parallel_coordinate(
        study_of(drawn[::-1], _directions(study)), params=names, **goal.arguments()
    )
    for line in figure.select_traces({"type": "scatter", "mode": "lines"}):
        line.line.color = sample_colorscale(RANKED, line.y[0] if goal.maximize else 1 - line.y[0])[0]
    for bar in figure.select_traces({"type": "scatter", "mode": "markers"}):
        bar.marker.update(colorscale=RANKED, reversescale=not goal.maximize)
    for note in figure.layout.annotations:
        note.font.color = None
    text = "A line for every complete trial, through its value and its parameters: grey the worst, orange the best."
    text += _of_many(len(drawn), len(complete))
    return text, (Drawing(figure, 420, 95 * (len(names) + 1)),)


def _slices(study: optuna.Study, goal: Goal, complete: list[FrozenTrial]) -> Made:
    _need(complete)
    names = _varied(complete)
    if not names:
        raise NotYet("No parameter has had two values in complete trials yet.")
    rows = [names[begin : begin + COLUMNS] for begin in range(0, len(names), COLUMNS)]
    figures = [visualization.plot_slice(study, params=row, **goal.arguments()) for row in rows]
    for figure in figures:
        figure.for_each_xaxis(_sparse)
    text = "The value against one parameter at a time; later trials are darker."
    return text, tuple(Drawing(figure, 330, 240 * len(row)) for figure, row in zip(figures, rows, strict=True))


def _contours(study: optuna.Study, goal: Goal, complete: list[FrozenTrial]) -> Made:
    _need(complete, 3, "to draw a surface through them")
    ranked = _ranked(study, goal, complete)[:SURFACES]
    if len(ranked) < 2:
        raise NotYet("Fewer than two parameters varied: see the slices.")
    together = [trial for trial in complete if sum(name in trial.params for name in ranked) > 1]
    if not together:
        raise NotYet("No two parameters were ever drawn for the same trial: see the slices.")
    step = max(1.0, len(together) / SURFACE)
    drawn = sorted(together, key=goal.loss)
    drawn = [drawn[int(index * step)] for index in range(min(len(drawn), SURFACE))]
    ranked = [name for name in ranked if name in _varied(drawn)]
    if len(ranked) < 2:
        raise NotYet("Fewer than two parameters varied in the same trials: see the slices.")
    figure = visualization.plot_contour(study_of(drawn, _directions(study)), params=ranked, **goal.arguments())
    figure.update_traces(reversescale=not goal.maximize, selector={"type": "contour"})
    figure.update_traces(marker={"size": 4, "line": {"width": 0.5}}, selector={"type": "scatter"})
    figure.for_each_xaxis(_sparse)
    figure.for_each_yaxis(_sparse)
    count = len(ranked) if len(ranked) > 2 else 1
    if count > 1:
        _draw_closer(figure, count)
    text = "The value over two parameters at a time; the darker, the better."
    if len(_varied(complete)) > len(ranked):
        text += f" Shown are the {len(ranked)} parameters that mattered most."
    if len(drawn) < len(complete):
        text += f" {len(drawn)} of {len(complete)} trials, from the best to the worst."
    return text, (Drawing(figure, 420 if count == 1 else 100 + 220 * count, 200 * count),)


def _pareto(study: optuna.Study, goals: list[Goal], complete: list[FrozenTrial]) -> Made:
    _need(complete)
    figures = []
    for pair in list(combinations(goals, 2))[:PAIRS]:
        figure = visualization.plot_pareto_front(
            study,
            target_names=[escape(goal.name) for goal in pair],
            targets=partial(_values, pair),
        )
        dominated, best = figure.data
        dominated.marker.line.color = STATE_COLOURS["COMPLETE"]
        best.marker = {"color": STATE_COLOURS["FAIL"], "size": 11}
        figures.append(figure)
    count = len(study.best_trials)
    text = f"Of {len(complete)} complete trials {count}, in red, are beaten by none in all objectives at once."
    return text, tuple(Drawing(figure, 460) for figure in figures)


def _values(goals: Sequence[Goal], trial: FrozenTrial) -> list[float]:
    return [goal.value(trial) for goal in goals]


def _timeline(study: optuna.Study) -> Made:
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.datetime_start is not None]
    if not trials:
        raise NotYet("No trial has begun yet.")
    figure = visualization.plot_timeline(study)
    for trace in figure.data:
        trace.marker.color = STATE_COLOURS.get(str(trace.name), STATE_COLOURS["WAITING"])
        trace.name = {"FAIL": "failed"}.get(str(trace.name), str(trace.name).lower())
        trace.marker.line.width = 0
    figure.layout.xaxis.title = None
    text = "When each trial began and ended, interruptions included."
    return text, (Drawing(figure, min(700, 240 + 4 * len(trials))),)


def _sparse(axis: Any) -> None:
    """Few ticks, for a small figure; on a logarithmic axis three are the whole powers of ten."""
    axis.nticks = 3 if axis.type == "log" else 5
    axis.tickfont.size = 10


def _draw_closer(figure: go.Figure, count: int) -> None:
    """Less space between the cells of a square of figures."""
    size = 1 / (count + 0.12 * (count - 1))
    for place in range(count):
        begin = place * 1.12 * size
        end = min(1.0, begin + size)
        figure.update_xaxes(domain=(begin, end), col=place + 1)
        figure.update_yaxes(domain=(1 - end, 1 - begin), row=place + 1)


def _directions(study: optuna.Study) -> list[str]:
    return [direction.name.lower() for direction in study.directions]


def _need(complete: Sequence[FrozenTrial], least: int = 1, what: str = "") -> None:
    if not complete:
        raise NotYet("No trial is complete yet.")
    if len(complete) < least:
        raise NotYet(f"{len(complete)} of the {least} complete trials that it takes {what}.")


def _is_complete(trial: FrozenTrial) -> bool:
    return trial.state is TrialState.COMPLETE and all(math.isfinite(value) for value in trial.values)


def _varied(trials: Sequence[FrozenTrial]) -> list[str]:
    """The parameters that have had two values or more."""
    names = sorted({name for trial in trials for name in trial.params})
    drawn = {name: {str(trial.params[name]) for trial in trials if name in trial.params} for name in names}
    return [name for name, values in drawn.items() if len(values) > 1]


def _ranked(study: optuna.Study, goal: Goal, complete: Sequence[FrozenTrial]) -> list[str]:
    """The parameters that varied, the most important one first where that can be told."""
    varied = _varied(complete)
    if len(varied) <= SURFACES:
        return varied
    target = None if goal.alone else goal.loss
    weights = optuna.importance.get_param_importances(
        study, evaluator=PedAnovaImportanceEvaluator(), params=varied, target=target
    )
    return sorted(varied, key=lambda name: -weights[name])


def _of_many(drawn: int, count: int) -> str:
    return f" Drawn are the best {drawn} of {count}." if drawn < count else ""
