"""Trainings that train nothing, for measuring sweeps, and the commands that sweep them: ours, and a loop of batches.

python -m project.benchmarks.sweep_objectives ours TRAINING.json model=mlp sweep=default ...
python -m project.benchmarks.sweep_objectives batches TRAINING.json model=mlp sweep=default ...
"""

import json
import math
import random
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig

from project.errors import UserError
from project.runs.command import CONF, command
from project.runs.folder import CONFIG, METRICS, write_json

LOG, PARTS = "trainings.jsonl", "parts.json"
SPACE = (
    "optimizer.lr=tag(log,interval(1e-4,1))",
    "optimizer.weight_decay=tag(log,interval(1e-6,1e-1))",
    "model.label_smoothing=interval(0.0,0.3)",
    "data.batch_size=choice(32,64,128,256)",
    "data.color=interval(0.0,1.0)",
)


@dataclass(frozen=True)
class FakeTraining:
    """A training that sleeps, or draws a learning curve, and leaves what the real one leaves in its folder.

    Args:
        folder: takes a line for each training: its number, begin and end in seconds since 1970, and epochs.
        durations: seconds that the training of that number sleeps; from the end of them on, none.
        epochs: of a learning curve, which the parameters determine; 0: one random value.
        seed: of the values.
        parts: whether the time is taken of what our worker does around a training that it runs in its head's process.
    """

    folder: str
    durations: tuple[float, ...] = ()
    epochs: int = 0
    seed: int = 0
    parts: bool = False

    def __call__(self, cfg: DictConfig, watchers: Sequence[Any] = ()) -> float:
        """The best value.

        Raises:
            TrialPruned: a watcher says so.
        """
        number, begin = int(HydraConfig.get().job.num), time.time()
        values: list[float] = []
        try:
            if number < len(self.durations):
                time.sleep(self.durations[number])
            values += [] if self.epochs else [random.Random(f"{self.seed}/{number}").random()]
            for watcher in watchers:
                watcher.began(1, self.epochs or None)
            for value in self._curve(cfg, number):
                values.append(value)
                if any(watcher.report(len(values), value) for watcher in watchers):
                    raise optuna.TrialPruned
            if cfg.folder is not None:
                self._leave(Path(str(cfg.folder)), str(cfg.monitor), values)
            return max(values)
        finally:
            line = {"number": number, "begin": begin, "end": time.time(), "values": values}
            with (Path(self.folder) / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def _curve(self, cfg: DictConfig, number: int) -> Iterator[float]:
        """Accuracies: one best point for all parameters; what is learnt slowly can still come out best."""
        noise = random.Random(f"{self.seed}/{number}")
        lr, decay = math.log10(cfg.optimizer.lr), math.log10(cfg.optimizer.weight_decay)
        miss = ((lr + 2.3) / 1.2) ** 2 + ((decay + 3) / 2.5) ** 2 + ((cfg.model.label_smoothing - 0.1) / 0.25) ** 2
        miss += ((math.log2(cfg.data.batch_size) - 6) / 4) ** 2 + ((cfg.data.color - 0.3) / 0.8) ** 2
        top, pace = 0.1 + 0.85 * math.exp(-0.5 * miss), 2 + 2 * max(0.0, -2.3 - lr) + 5 * cfg.model.label_smoothing
        for epoch in range(1, self.epochs + 1):
            yield 0.1 + (top - 0.1) * (1 - math.exp(-epoch / pace)) + noise.gauss(0, 0.004)

    def _leave(self, folder: Path, monitor: str, values: list[float]) -> None:
        (folder / CONFIG).write_text("name: fake\n", encoding="utf-8")
        best = {"value": max(values), "step": values.index(max(values))}
        write_json(folder / METRICS, {"epochs": len(values), "monitor": monitor, "best": best, monitor: values[-1]})


def batches(training: FakeTraining, words: list[str]) -> None:
    """What Hydra's Optuna sweeper does: ask for a batch, launch it, wait for all of it, tell; then the next.

    Args:
        words: of the same command as ours; `sweep.workers` is the size of a batch.
    """
    from hydra._internal.callbacks import Callbacks

    from project.sweeps.space import parse

    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        space = parse({}, [word for word in words if not word.startswith("hydra")], loader)
        own = [word for word in words if word.startswith("hydra")]
        config = loader.load_configuration("train", [*space.fixed, *own], RunMode.MULTIRUN)
        HydraConfig.instance().set_config(config)
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(loader, Callbacks()),
            task_function=training,
            config=config,
        )
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=training.seed))
        count, size, done = int(config.sweep.n_trials), int(config.sweep.workers), 0
        while done < count:
            trials = [study.ask() for _ in range(min(size, count - done))]
            returns = launcher.launch([[*space.fixed, *space.suggest(trial)] for trial in trials], done)
            for trial, result in zip(trials, returns, strict=True):
                study.tell(trial, result.return_value)
            done += len(trials)


def ours(training: FakeTraining) -> None:
    """The real command, with another training."""

    def refuse(cfg: DictConfig, changes: list[str]) -> float:
        raise UserError("a sweep is measured here: sweep=NAME must be given")

    run = command("train", refuse, trial=training)
    if not training.parts:
        run()
        return
    with _timed() as calls:
        run()
    (Path(training.folder) / PARTS).write_text(json.dumps(calls), encoding="utf-8")


@contextmanager
def _timed() -> Iterator[list[tuple[str, float]]]:
    """Name and seconds of every call of a trial's parts, for a worker in this process."""
    from project.sweeps.composing import Composer
    from project.sweeps.shared_study import SharedStudy
    from project.sweeps.space import Space

    calls: list[tuple[str, float]] = []
    parts: dict[str, tuple[type, str]] = {"claim": (SharedStudy, "claim"), "suggest": (Space, "suggest")}
    parts |= {"compose": (Composer, "__call__"), "tell": (SharedStudy, "finish")}
    originals = [(part, kind, name, getattr(kind, name)) for part, (kind, name) in parts.items()]

    def timed(part: str, call: Any) -> Any:
        def inner(*arguments: Any, **named: Any) -> Any:
            begin = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                if threading.current_thread() is threading.main_thread():  # the head's thread shows the sweep
                    calls.append((part, time.perf_counter() - begin))

        return inner

    for part, kind, name, call in originals:
        setattr(kind, name, timed(part, call))
    try:
        yield calls
    finally:
        for _, kind, name, call in originals:
            setattr(kind, name, call)


def main() -> None:
    """Run one side."""
    side, path, *words = sys.argv[1:]
    known = json.loads(Path(path).read_text(encoding="utf-8"))
    training = FakeTraining(**{**known, "durations": tuple(known["durations"])})
    sys.argv[1:] = words
    batches(training, words) if side == "batches" else ours(training)


if __name__ == "__main__":
    # under its own name, so that other processes find the training's class
    from project.benchmarks import sweep_objectives

    sweep_objectives.main()
