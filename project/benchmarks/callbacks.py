"""What each default callback costs a training."""

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from lightning import Callback, LightningModule, Trainer

from project.benchmarks.measuring import Figure
from project.callbacks.checkpoints import Checkpoints
from project.runs.command import CONF
from project.runs.hydra_versions import DEFAULTS
from project.train import train

# a training of each kind of task that something is drawn of, on data that need nothing
TRAININGS = {
    "resnet": ("model=resnet", "data=shapes", "trainer=quick", "trainer.log_every_n_steps=50"),
    "autoencoder_conv": ("model=autoencoder_conv", "data=shapes", "trainer=quick", "trainer.log_every_n_steps=50"),
    "lstm": ("model=lstm", "trainer.limit_train_batches=150", "trainer.limit_val_batches=20", "trainer.max_epochs=2"),
}
SHOWN = 0.05  # per cent


def callbacks(repeats: int, names: Sequence[str] = tuple(TRAININGS), words: Sequence[str] = ()) -> list[Figure]:
    """Per cent of a training's time that goes into its default callbacks, all together and one by one.

    The checkpoints' are left out: `checkpoints` measures them.

    Args:
        repeats: of each training.
        names: of `TRAININGS`.
        words: more overrides for each.
    """
    figures = []
    for name in names:
        shares = [_shares((*TRAININGS[name], *words)) for _ in range(repeats)]
        whole = [sum(found.values()) for found in shares]
        figures.append(Figure(f"default callbacks, of a training of model={name}", "%", whole, target="<= 3"))
        for key in shares[0]:
            values = [found[key] for found in shares]
            if max(values) >= SHOWN:
                figures.append(Figure(f"{name}: {key}", "%", values))
    return figures


def _shares(words: Sequence[str]) -> dict[str, float]:
    """Per cent of the training for each callback."""
    with tempfile.TemporaryDirectory(prefix="callbacks-") as folder:
        log = Path(folder) / "seconds.json"
        with initialize_config_dir(str(CONF), **DEFAULTS):
            own = (f"folder={folder}/run", f"outputs={folder}", "test=false", "trainer.accelerator=cpu")
            cfg = compose("train", overrides=[*words, *own])
        train(cfg, [Costs(log)])
        found: dict[str, float] = json.loads(log.read_text(encoding="utf-8"))
    training = found.pop("training")
    return {key: 100 * seconds / training for key, seconds in found.items()}


class Costs(Callback):
    """Times every hook of all the other callbacks, and writes their seconds and those of the whole training.

    Args:
        log: a JSON file.
    """

    def __init__(self, log: Path) -> None:
        self.file, self.seconds = log, dict[str, float]()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if not isinstance(callback, Costs | Checkpoints):
                self._time(callback)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = time.perf_counter()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        whole = time.perf_counter() - self._began
        self.file.write_text(json.dumps({**self.seconds, "training": whole}), encoding="utf-8")

    def _time(self, callback: Any) -> None:
        name = type(callback).__name__
        self.seconds[name] = 0.0
        for hook in dir(Callback):
            if not hook.startswith("on_") or getattr(type(callback), hook) is getattr(Callback, hook):
                continue
            if hook not in ("on_save_checkpoint", "on_load_checkpoint"):
                setattr(callback, hook, self._timed(name, getattr(callback, hook)))

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds[name] += time.perf_counter() - start

        return measured
