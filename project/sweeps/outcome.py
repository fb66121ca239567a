"""What a trial came to, and how it is told to the study and left in the trial's folder."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from project.sweeps.claims import Claim
from project.sweeps.shared_study import SharedStudy


@dataclass
class Outcome:
    """Of a trial that was trained to its end.

    Attributes:
        values: of the objectives, in their order.
        facts: kept with the trial: seconds, parameters, validations, ...
    """

    values: list[float]
    facts: dict[str, Any] = field(default_factory=dict)

    def tell(self, shared: SharedStudy, claim: Claim, folder: Path) -> None:
        """Record it.

        Raises:
            Lost: the trial is another worker's by now.
        """
        shared.finish(claim, TrialState.COMPLETE, self.values, **self.facts)


@dataclass
class Pruned(Outcome):
    """Of a trial that was stopped early: its value is the last that it reported."""

    values: list[float] = field(default_factory=list)

    def tell(self, shared: SharedStudy, claim: Claim, folder: Path) -> None:
        shared.finish(claim, TrialState.PRUNED, None, **self.facts)


class Rejected(Pruned):
    """Of a trial that broke a constraint: it was not trained, and the sampler learns to keep away."""


@dataclass
class Failed(Outcome):
    """Of a trial that raised an exception."""

    values: list[float] = field(default_factory=list)

    def __init__(self, message: str, trace: str | None = None, **facts: Any) -> None:
        self.message, self.trace, self.facts = message, trace, facts

    def tell(self, shared: SharedStudy, claim: Claim, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "error.txt").write_text((self.trace or self.message) + "\n", encoding="utf-8")
        shared.finish(claim, TrialState.FAIL, None, error=self.message, **self.facts)
