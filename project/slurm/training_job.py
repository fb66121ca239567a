"""A single run as a Slurm job: the command of the same words, which goes on where it was when it is started again."""

import runpy
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

from project.errors import stop_behind
from project.slurm.stops import go_on_later, stoppable

CONFIG = "config.yaml"


@dataclass
class TrainingJob:
    """What the job calls.

    Attributes:
        module: the entry point.
        words: of its command line, for the job's first start.
        typed: the words of the person's own command.
        folder: the run's.
        config_written: the time of change of its config, in nanoseconds, when the job was sent; None: there was none.
        requeues: how often the job may be queued again.
    """

    module: str
    words: list[str]
    typed: list[str]
    folder: Path
    config_written: int | None
    requeues: int

    def __call__(self) -> None:
        """Run the command to its end.

        Raises:
            SystemExit: its exit code is not 0.
        """
        with stoppable() as stops:
            words = [f"resume={self.folder}"] if self._has_begun() else self.words
            code = _run(self.module, words, self.typed)
            if code > 128 and go_on_later(stops, self.requeues):
                code = 0
        if code != 0:
            raise SystemExit(code)

    def _has_begun(self) -> bool:
        """Whether an earlier start has written the run's config, which is the first that it writes."""
        config = self.folder / CONFIG
        return config.exists() and config.stat().st_mtime_ns != self.config_written


def _run(module: str, words: list[str], typed: list[str]) -> int:
    """The exit code of `python -m <module> <words>`, in this process; its records tell what was typed."""
    sys.argv = [module, *words]
    sys.orig_argv[1:] = ["-m", module, *typed]
    warnings.filterwarnings("ignore", "'project.* found in sys.modules", RuntimeWarning)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except Exception as error:
        stop = stop_behind(error)
        if stop is None:
            raise
        return 128 + stop.signal
    return 0
