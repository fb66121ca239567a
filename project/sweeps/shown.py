"""How a sweep goes, while it goes: a table in a terminal, a line per trial in a file."""

import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from project.sweeps.claims import attempts_of
from project.sweeps.results import best_trial, state_of
from project.sweeps.shared_study import SharedStudy
from project.sweeps.worker import Orders

INTERVAL = 1.0  # seconds between two looks at the study
LINES = 30.0  # seconds between two lines on the whole, where the output is no terminal


class Shown:
    """Shows the sweep while the block runs, from a thread of its own.

    Args:
        shared: the study.
        orders: of the sweep.
        objectives: their names.
        changed: called after a trial has finished: writes the results.
    """

    def __init__(
        self, shared: SharedStudy, orders: Orders, objectives: Sequence[str], changed: Callable[[], None]
    ) -> None:
        self.shared, self.orders, self.objectives, self.changed = shared, orders, objectives, changed
        self.console = Console(file=sys.stderr)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._told: set[int] = set()
        self._lined = time.monotonic()

    def __enter__(self) -> "Shown":
        self._told = {trial.number for trial in self.shared.trials() if trial.state.is_finished()}
        self._known = len(self._told)
        if self._known:
            self.console.print(f"going on with {self._known} finished trials", highlight=False)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        if not self.console.is_terminal:
            while not self._ended.wait(INTERVAL):
                self._look(self._tell)
            self._look(self._tell)
            return
        with Live(console=self.console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
            while not self._ended.wait(INTERVAL):
                self._look(lambda trials: live.update(self.table(trials), refresh=True))
            self._look(lambda trials: live.update(self.table(trials), refresh=True))

    def _look(self, show: Callable[[list[FrozenTrial]], None]) -> None:
        try:
            trials = self.shared.trials()
            show(trials)
            finished = sum(trial.state.is_finished() for trial in trials)
            if finished != self._known:
                self._known = finished
                self.changed()
        except Exception as error:  # a database that is away must not end the sweep
            logging.getLogger(__name__).debug("cannot show the sweep: %s", error)

    def table(self, trials: list[FrozenTrial]) -> Group:
        """The running trials, and a line on the whole."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("trial", "parameters", "now", "progress", "left"):
            table.add_column(
                name, justify="left" if name == "parameters" else "right", overflow="ellipsis", no_wrap=True
            )
        for trial in trials:
            if trial.state is TrialState.RUNNING:
                table.add_row(str(trial.number), _parameters(trial), _current(trial), _progress(trial), _left(trial))
        return Group(table, Text(self.line(trials)))

    def line(self, trials: list[FrozenTrial]) -> str:
        """The whole in a line: how many trials are in which state, the best so far, trials per hour."""
        counted = Counter(state_of(trial) for trial in trials)
        finished = sum(trial.state.is_finished() for trial in trials)
        parts = [f"{finished}/{max(self.orders.settings.n_trials, len(trials))} trials"]
        parts += [f"{counted[state]} {state}" for state in ("running", "pruned", "rejected", "fail") if counted[state]]
        best = best_trial(self.shared.study, trials, self.orders.directions)
        if best is not None:
            values = ", ".join(f"{name} {value:.4f}" for name, value in zip(self.objectives, best.values, strict=True))
            parts.append(f"best {values} (trial {best.number})")
        hours = max(time.time() - self.orders.began, 1e-9) / 3600
        new = sum(
            trial.datetime_complete is not None and trial.datetime_complete.timestamp() >= self.orders.began
            for trial in trials
        )
        if new:
            parts.append(f"{new / hours:,.0f} trials/hour")
        return " | ".join(parts)

    def _tell(self, trials: list[FrozenTrial]) -> None:
        new = [trial for trial in trials if trial.state.is_finished() and trial.number not in self._told]
        for trial in sorted(new, key=lambda trial: trial.datetime_complete or datetime.min):
            self._told.add(trial.number)
            values = ", ".join(f"{value:.4f}" for value in trial.values or [])
            reason = trial.user_attrs.get("error") or trial.user_attrs.get("rejected") or ""
            parts = [f"trial {trial.number:>3}", f"{state_of(trial):<8}", values, _parameters(trial), reason]
            self._print("  ".join(part for part in parts if part))
        if new or time.monotonic() - self._lined >= LINES:
            self._lined = time.monotonic()
            running = [
                f"{trial.number}: {_current(trial) or '...'} ({_progress(trial)}, {_left(trial) or '?'} left)"
                for trial in trials
                if trial.state is TrialState.RUNNING
            ]
            self._print(self.line(trials) + (f" | now {', '.join(running)}" if running else ""))

    def _print(self, line: str) -> None:
        print(line, file=self.console.file, flush=True)


def _parameters(trial: FrozenTrial) -> str:
    return " ".join(f"{name.rpartition('.')[2]}={_short(value)}" for name, value in trial.params.items())


def _current(trial: FrozenTrial) -> str:
    step = trial.last_step
    return "" if step is None else f"{trial.intermediate_values[step]:.4f}"


def _progress(trial: FrozenTrial) -> str:
    expected = trial.user_attrs.get("validations")
    return f"{trial.last_step or 0}/{expected if expected is not None else '?'}"


def _left(trial: FrozenTrial) -> str:
    """Time left of a running trial, from the attempt's own pace."""
    expected, done = trial.user_attrs.get("validations"), trial.last_step
    attempts = attempts_of(trial)
    if not expected or not done or not attempts:
        return ""
    begun = datetime.fromisoformat(attempts[-1]["began"])
    seconds = (datetime.now() - begun).total_seconds() / done * max(0, expected - done)
    return f"{int(seconds // 3600)}:{int(seconds // 60 % 60):02}:{int(seconds % 60):02}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
