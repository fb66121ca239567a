"""One trial: from what the sampler draws to the value of a training."""

import contextlib
import gc
import json
import math
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import optuna
import torch
from filelock import FileLock, Timeout
from hydra.core.utils import run_job
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict
from optuna.pruners import WilcoxonPruner

from project.callbacks.hparams import write_hparams
from project.errors import NeverLogged, Stopped, UserError
from project.runs.folder import CONFIG, METRICS
from project.runs.resuming import resumed_config
from project.runs.speed import release_buffers
from project.sweeps.apart import apart, forking, needs_several_processes
from project.sweeps.claims import Claim, Lost
from project.sweeps.composing import Composer
from project.sweeps.drawing import sampler_for
from project.sweeps.functions import function
from project.sweeps.outcome import Outcome, Pruned, Rejected
from project.sweeps.patience import Away
from project.sweeps.reporting import Reporter, Unfit
from project.sweeps.shared_study import SharedStudy
from project.sweeps.watching import Watching
from project.sweeps.worker import Orders, Train

PARAMETERS = "parameters.yaml"
SEEDS = "seeds"
SECONDS_FOR_THE_DEAD = 60.0
WORTH_COLLECTING = 2.0  # seconds of a trial; to collect takes some ten milliseconds


def run_trial(
    train: Train, context: HydraContext, shared: SharedStudy, claim: Claim, compose: Composer, orders: Orders
) -> Outcome:
    """Draw the trial's parameters and train them, or go on where an earlier attempt was left.

    Raises:
        Stopped: the worker is to stop; the trial's checkpoint is written.
        Lost: another worker has taken the trial.
        Exception: whatever the training raised.
    """
    try:
        trial = _Trial(train, context, shared, claim, compose, orders)
    except optuna.TrialPruned:  # of the function that draws parameters
        return Rejected(facts={"rejected": "the space says no"})
    return trial.run()


class _Trial:
    def __init__(
        self, train: Train, context: HydraContext, shared: SharedStudy, claim: Claim, compose: Composer, orders: Orders
    ) -> None:
        self.train, self.context, self.shared, self.claim, self.orders = train, context, shared, claim, orders
        sampler = sampler_for(orders.settings.sampler, orders.settings.seed, claim.number, orders.space)
        if sampler is not None:
            shared.draw_with(sampler)
        self.trial = shared.trial(claim)
        self.words = orders.space.suggest(self.trial)
        if "overrides" not in self.trial.user_attrs:
            shared.note(claim, overrides=self.words, threads=orders.threads)
        self.cfg = compose(self.words)
        self.folder = orders.folder / str(claim.number)
        self.facts: dict[str, Any] = {
            key: self.trial.user_attrs[key] for key in ("seconds", "validations") if key in self.trial.user_attrs
        }
        self.facts["seconds"] = self.facts.get("seconds", 0.0) + shared.seconds_of_the_dead(claim, self._last_state())
        self.per_seed = orders.settings.seeds > 1 and isinstance(shared.study.pruner, WilcoxonPruner)

    def run(self) -> Outcome:
        outcome: Outcome
        if self.claim.attempt == 1 and (self.folder / CONFIG).exists():
            raise UserError(f"{self.folder} holds a run already, which is not of this trial: name a new study")
        began = time.monotonic()
        names = objectives(self.orders.settings, self.cfg)
        try:
            self._check_constraints()
            trained = [self._train_seed(index, names) for index in range(self.orders.settings.seeds)]
            values = [statistics.fmean(column) for column in zip(*trained, strict=True)]
            outcome = Outcome(values, self.facts)
            for name, value in zip(names, values, strict=True):
                if not math.isfinite(value):
                    raise UserError(f"{name} is {value}: there is no value to compare this trial by")
        except Unfit as unfit:
            outcome = Rejected(facts={"rejected": str(unfit)})
        except optuna.TrialPruned:
            outcome = Pruned(facts=self.facts)
        except Stopped:
            self.shared.note(self.claim, seconds=self.facts["seconds"])
            raise
        except (Lost, NeverLogged, Away):
            raise
        except Exception:
            write_hparams(self.folder, self._parameters(), {}, failed=True)
            raise
        finally:
            self._write_parameters()
            if time.monotonic() - began > WORTH_COLLECTING:
                gc.collect()
                release_buffers()
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()
        found: list[float | None] = [*outcome.values] or [self._last_value()]
        measured = {name: value for name, value in zip(names, found, strict=False) if value is not None}
        write_hparams(self.folder, self._parameters(), measured, failed=isinstance(outcome, Rejected))
        return outcome

    def _train_seed(self, index: int, names: list[str]) -> list[float]:
        """The objectives' values of the training with the seed number `index`."""
        folder = self.folder if index == 0 else self.folder / SEEDS / str(index)
        watching = self._watching(index)
        if not (folder / METRICS).exists():  # else it was trained by an attempt that ended before it could say so
            cfg = self._config(index, folder)
            began = time.monotonic()
            try:
                self._train(cfg, watching)
            finally:
                self.facts["seconds"] = round(watching.seconds + time.monotonic() - began, 3)
        metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))
        facts = {"parameters": self.facts.get("parameters", self.trial.user_attrs.get("parameters")), **self.facts}
        values = [_value(name, metrics, facts) for name in names]
        if self.per_seed:
            self.trial.report(values[0], index)
            if index + 1 < self.orders.settings.seeds and self.trial.should_prune():
                raise optuna.TrialPruned
        return values

    def _train(self, cfg: DictConfig, watching: Watching) -> None:
        """Train here, or, on several devices, in a process below this one; what that found out is in the study."""

        def training() -> None:
            _call(self.train, self.context, cfg, self.orders.folder, self.claim.number, watching)

        if not needs_several_processes(cfg):
            training()
            return
        forking(cfg)
        error: Exception | None = None
        try:
            apart(training)
        except Stopped:
            raise
        except Exception as raised:
            error = raised
        noted = self.shared.storage.get_trial(self.claim.trial_id).user_attrs
        self.facts |= {key: noted[key] for key in ("parameters", "validations") if key in noted}
        if "rejected" in noted:
            raise Unfit(noted["rejected"])
        if noted.get("stopped_early"):
            raise optuna.TrialPruned
        if error is not None:
            raise error

    def _config(self, index: int, folder: Path) -> DictConfig:
        """A new run's config, or that of the run that an earlier attempt left in `folder`."""
        if (folder / CONFIG).exists():
            _wait_for(folder)
            cfg = resumed_config(str(folder), [], str(self.cfg.outputs))
            with open_dict(cfg):
                cfg.hydra = self.cfg.hydra
            return cfg
        cfg = self.cfg.copy()
        shutil.rmtree(folder, ignore_errors=True)
        cfg.folder = str(folder)
        cfg.seed += index
        if cfg.callbacks:
            with open_dict(cfg.callbacks):
                cfg.callbacks.pop("hparams", None)  # the trial has a row of what was searched, over all its seeds
        if cfg.threads is None:
            cfg.threads = self.orders.threads
        self._write_parameters()
        return cfg

    def _watching(self, index: int) -> Watching:
        prunes = len(self.orders.directions) == 1 and not self.per_seed
        reporter = Reporter(self.shared, self.claim, self.orders.settings, index, prunes, self.per_seed)

        def began(parameters: int, validations: int | None) -> None:
            reporter.began(parameters, validations)
            self.facts |= reporter.facts

        names = [name for name in objectives(self.orders.settings, self.cfg) if name != self.cfg.monitor]
        return Watching(str(self.cfg.monitor), reporter.report, began, self.facts["seconds"], names)

    def _last_state(self) -> float | None:
        """When the newest checkpoint of an earlier attempt was written, in seconds since 1970."""
        written = [path.stat().st_mtime for path in self.folder.rglob("last.ckpt")]
        return max(written, default=None)

    def _check_constraints(self) -> None:
        for name in self.orders.settings.constraints:
            verdict = function(name, "sweep.constraints")(self.cfg)
            if verdict is not True and verdict is not None:
                raise Unfit(str(verdict) if isinstance(verdict, str) else f"{name} says no")

    def _last_value(self) -> float | None:
        reported = self.shared.storage.get_trial(self.claim.trial_id).intermediate_values
        return reported[max(reported)] if reported else None

    def _parameters(self) -> dict[str, Any]:
        return dict(self.trial.params)

    def _write_parameters(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(OmegaConf.create(self._parameters()), self.folder / PARAMETERS)


def objectives(settings: Any, cfg: DictConfig) -> list[str]:
    """The names of what is optimised: `sweep.objectives`, or the config's monitor."""
    return list(settings.objectives or [str(cfg.monitor)])


def _wait_for(folder: Path) -> None:
    """Until the processes that a dead worker had forked have let go of its run."""
    with contextlib.suppress(Timeout), FileLock(folder / ".lock", timeout=SECONDS_FOR_THE_DEAD):
        pass


def _value(name: str, metrics: dict[str, Any], facts: dict[str, Any]) -> float:
    if name == metrics["monitor"]:
        value = metrics["best"]["value"]
    elif name in ("parameters", "seconds"):
        value = facts.get(name)
    elif name in metrics:
        value = metrics[name]
    else:
        known = ", ".join(sorted(key for key in metrics if "/" in key))
        raise UserError(f"sweep.objectives: {name} was never measured; there are parameters, seconds, {known}")
    return math.nan if value is None else float(value)


def _call(train: Train, context: HydraContext, cfg: DictConfig, folder: Path, number: int, watching: Watching) -> None:
    """Train as a job of Hydra's, so that its settings (environment, callbacks, `${hydra:...}`) hold."""
    raised: list[BaseException] = []

    def task(job: DictConfig) -> float:
        try:
            return train(job, [watching])
        except BaseException as error:  # Hydra would keep it, and print of it
            raised.append(error)
            raise

    with open_dict(cfg.hydra):
        cfg.hydra.sweep.dir = str(folder)
        cfg.hydra.job.num = number
        cfg.hydra.job.id = str(number)
        cfg.hydra.sweep.subdir = str(number)
    run_job(
        task_function=task,
        config=cfg,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        hydra_context=context,
        configure_logging=False,
    )
    if raised:
        raise raised[0]
