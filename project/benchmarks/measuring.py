"""How the benchmarks measure: both sides in turn, several times, medians and ratios, and on which machine."""

import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from statistics import median
from typing import Any

import torch

from project.runs.provenance import hardware
from project.runs.tables import table


@dataclass(frozen=True)
class Figure:
    """What was measured of ours, and of a reference at the same time.

    Args:
        what: was measured.
        unit: of both.
        ours: one value for each repeat.
        reference: what it was measured against, one value for each repeat; empty: there is nothing to compare with.
        target: what the comparison, or without a reference the value, is to reach, e.g. `<= 1.06`.
        by: `ratio` compares by ours / reference, `difference` by ours - reference; `value` does not: the target is of
            ours, and the reference stands beside it.
    """

    what: str
    unit: str
    ours: Sequence[float]
    reference: Sequence[float] = field(default_factory=tuple)
    target: str = ""
    by: str = "ratio"

    @property
    def compared(self) -> list[float]:
        """Ours against the reference, repeat by repeat; without a reference ours."""
        if not self.reference or self.by == "value":
            return list(self.ours)
        pairs = zip(self.ours, self.reference, strict=True)
        return [mine - other if self.by == "difference" else mine / other for mine, other in pairs]

    @property
    def reached(self) -> bool | None:
        """Whether the median reaches the target; None: there is none."""
        if not self.target:
            return None
        sign, _, limit = self.target.partition(" ")
        found = median(self.compared)
        return found <= float(limit) if sign == "<=" else found >= float(limit)

    def row(self) -> dict[str, str]:
        """For a table."""
        compared = self.compared
        name = "" if not self.reference or self.by == "value" else self.by
        spread = f"{_short(min(compared))} to {_short(max(compared))}" if len(compared) > 1 else ""
        return {
            "what": self.what,
            "unit": self.unit,
            "ours": _short(median(self.ours)),
            "reference": _short(median(self.reference)) if self.reference else "",
            "ratio": _short(median(compared)) + (" more" if name == "difference" else "") if name else "",
            "from": spread if name else "",
            "target": {None: "", True: f"{self.target} reached", False: f"{self.target} MISSED"}[self.reached],
        }

    def record(self) -> dict[str, Any]:
        """For a JSON file."""
        return {
            "what": self.what,
            "unit": self.unit,
            "ours": list(self.ours),
            "reference": list(self.reference),
            "compared_by": self.by,
            "compared": self.compared,
            "target": self.target or None,
            "reached": self.reached,
        }


def shown(figures: Iterable[Figure], repeats: int, device: str = "cpu", markdown: bool = False) -> str:
    """A table of the figures and a line on the machine."""
    return f"{table([figure.row() for figure in figures], markdown)}\n\n{conditions(repeats, device)}"


def conditions(repeats: int, device: str = "cpu") -> str:
    """On what it was measured, and how often; 0: that is said elsewhere.

    Args:
        device: the type of that which computed.
    """
    machine = hardware()
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "lightning"))
    devices = "".join(f", {name}" for name in machine["gpus"]) if device == "cuda" else ""
    often = f"medians of {repeats} repeats, " if repeats else "medians, "
    return (
        f"{often}{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads"
        f"{devices}, Python {platform.python_version()}, {packages}"
    )


def in_turn(
    sides: dict[str, Callable[[], Any]], repeats: int, seconds: Callable[[Callable[[], Any]], float] | None = None
) -> dict[str, list[float]]:
    """Seconds of each side, `repeats` times, one after the other so that all meet the same disturbances.

    Args:
        seconds: measures a side; None: the time that its call takes.
    """
    measure = seconds or timed
    for side in sides.values():
        measure(side)  # a warm-up
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            times[name].append(measure(side))
    return times


def timed(side: Callable[[], Any]) -> float:
    """Seconds of a call, to the end of what it has started on a GPU."""
    start = time.perf_counter()
    side()
    finish()
    return time.perf_counter() - start


def finish() -> None:
    """Wait for what was started on a GPU."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) >= 100 else f"{value:.3g}"
