"""How long a person, or a sweep's worker, waits until something is trained; and what stays in memory."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from lightning import Callback, LightningModule, Trainer

from project.benchmarks.measuring import Figure
from project.benchmarks.processes import environment, run_module
from project.callbacks.checkpoints import Checkpoints

# what takes long to import, and a plain run of an image classifier has no use for
HEAVY = (
    "matplotlib", "optuna", "pandas", "plotly", "rich", "sacrebleu", "scipy", "sklearn", "sqlalchemy", "tensorboard",
    "tokenizers", "torch._dynamo", "torch._inductor", "torchmetrics", "torchvision", "transformers",
)  # fmt: skip
TINY = ("model=mlp", "model.net.hidden=[8]", "data=shapes", "data.train_images=256", "data.test_images=32")


def startup(repeats: int, words: Sequence[str] = (), warm_up: int = 1) -> list[Figure]:
    """Seconds from the command to the help, to the answer to a mistake, and to the end of the first training step.

    Args:
        repeats: of each.
        words: more of the training's command line.
        warm_up: more of each in front, which are not counted.
    """
    figures = []
    first_step = ["model=resnet", "data=shapes", *_watch(FirstStep), *words]
    for what, command, target in (
        ("python -m project.train --help", ["--help"], "<= 1"),
        ("a mistake in the config is answered", ["data.batch_size=abc"], "<= 1"),
        (
            "first training step of model=resnet data=shapes",
            first_step,
            "<= 6",
        ),
    ):
        with tempfile.TemporaryDirectory(prefix="startup-") as folder:
            seconds = [_seconds(command, Path(folder)) for _ in range(repeats + warm_up)]
        figures.append(Figure(what, "s", seconds[warm_up:], target=target))
    return figures


def trials(repeats: int, count: int = 100, early: int = 10) -> list[Figure]:
    """Trial after trial in one worker: what it holds in memory, and how long the next trial takes to begin.

    Args:
        repeats: sweeps.
        count: trials of a sweep.
        early: after which memory is looked at for the first time.
    """
    grown: list[float] = []
    before: list[float] = []
    waits: list[float] = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(prefix="trials-") as folder:
            log = Path(folder) / "trials.jsonl"
            words = [
                *TINY,
                "sweep=default",
                f"sweep.n_trials={count}",
                "trainer.max_epochs=1",
                "trainer.accelerator=cpu",
            ]
            words += [
                "optimizer.lr=tag(log,interval(1e-4,1e-1))",
                "test=true",
                *_watch(Diary),
                f"+callbacks.watch.log={log}",
            ]
            done = _command(words, Path(folder))
            if done.returncode != 0:
                raise RuntimeError(f"the sweep failed\n{(done.stdout + done.stderr)[-2000:]}")
            lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        before.append(lines[early - 1]["MiB"])
        grown.append(lines[-1]["MiB"])
        waits.append(median(after["began"] - line["ended"] for line, after in pairwise(lines)))
    return [
        Figure(
            f"memory of a worker after {count} short trials, against after {early}", "MiB", grown, before, "<= 1.05"
        ),
        Figure("from a trial's end to the next one's first step, in one worker", "s", waits, target="<= 0.2"),
    ]


def checkpoints(repeats: int, images: int = 50_000) -> list[Figure]:
    """Per cent of a training of `model=convnet` that goes into writing checkpoints.

    Args:
        repeats: trainings of 3 epochs.
        images: of training and validation together.
    """
    shares = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(prefix="checkpoints-") as folder:
            log = Path(folder) / "seconds.json"
            words = [
                "model=convnet",
                "data=shapes",
                f"data.train_images={images}",
                "data.test_images=100",
                "test=false",
            ]
            words += ["trainer.max_epochs=3", "trainer.accelerator=cpu"]
            words += ["callbacks.checkpoints._target_=project.benchmarks.startup.TimedCheckpoints"]
            done = _command([*words, f"+callbacks.checkpoints.log={log}"], Path(folder))
            if done.returncode != 0:
                raise RuntimeError(f"the training failed\n{(done.stdout + done.stderr)[-2000:]}")
            found = json.loads(log.read_text(encoding="utf-8"))
        shares.append(100 * found["writing"] / found["training"])
    return [Figure(f"checkpoints, of a training of model=convnet on {images:,} images", "%", shares, target="<= 1")]


def imports() -> dict[str, list[str]]:
    """Heavy packages: which a plain run of an image classifier imports by itself, which Lightning does within it, and
    which `import lightning` alone imports and the run does not."""
    words = [*TINY, "trainer.max_epochs=1", "trainer.accelerator=cpu"]
    run, lightnings = (
        _imported(code, words) for code in ("import project.train; project.train.main()", "import lightning")
    )
    return {
        "ours": [name for name in run if name not in lightnings],
        "lightning": [name for name in run if name in lightnings],
        "spared": [name for name in lightnings if name not in run],
    }


def _imported(code: str, words: Sequence[str]) -> list[str]:
    # what only stands for a module has no file
    found = f"[name for name in {HEAVY!r} if getattr(sys.modules.get(name), '__file__', None)]"
    code = f"{code}; import json, sys; print('IMPORTED', json.dumps({found}))"
    with tempfile.TemporaryDirectory(prefix="imports-") as folder:
        command = [sys.executable, "-c", code, *words]
        done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("IMPORTED ")]
    names: list[str] = json.loads(line.removeprefix("IMPORTED "))
    return names


class FirstStep(Callback):
    """Ends the process after the first training step."""

    def on_train_batch_end(self, *arguments: Any) -> None:
        os._exit(0)


class Diary(Callback):
    """Writes when a training began and ended, and what its process then held in memory.

    Args:
        log: a file; a line for every training.
    """

    def __init__(self, log: str) -> None:
        self.file, self.began = Path(log), 0.0  # Lightning gives callbacks a `log` of its own

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *arguments: Any) -> None:
        self.began = self.began or time.time()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        line = {"began": self.began, "ended": time.time(), "MiB": resident()}
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


class TimedCheckpoints(Checkpoints):
    """A run's checkpoints, and the seconds that they take.

    Args:
        log: takes them at the end of the training.
        arguments: of `Checkpoints`.
    """

    def __init__(self, log: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.file, self.writing, self.began = Path(log), 0.0, time.perf_counter()

    @property
    def state_key(self) -> str:
        return "Checkpoints"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.began = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        seconds = {"writing": self.writing, "training": time.perf_counter() - self.began}
        self.file.write_text(json.dumps(seconds), encoding="utf-8")

    def _save_last(self, trainer: Trainer) -> None:
        start = time.perf_counter()
        super()._save_last(trainer)
        self.writing += time.perf_counter() - start

    def _save_if_best(self, trainer: Trainer) -> None:
        start = time.perf_counter()
        super()._save_if_best(trainer)
        self.writing += time.perf_counter() - start


def resident() -> float:
    """MiB of this process in memory, by the kernel; where it does not tell, the most that there ever were."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _watch(callback: type[Callback]) -> list[str]:
    return [f"+callbacks.watch._target_={callback.__module__}.{callback.__name__}"]


def _seconds(words: Sequence[str], folder: Path) -> float:
    start = time.perf_counter()
    _command(words, folder)
    return time.perf_counter() - start


def _command(words: Sequence[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    return run_module("project.train", words, folder)
