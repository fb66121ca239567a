"""Several processes of one training, as torchrun or srun start them: from outside, told apart by their environment."""

import contextlib
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from project.distributed.watch import children
from tests.conftest import _become

TINY = (
    "model=mlp",
    "model.net.hidden=[8]",
    "data=shapes",
    "data.train_images=88",  # 80 to train on: 5 batches of 16; 8 to validate on
    "data.val_fraction=0.1",
    "data.test_images=23",  # of which no number of ranks has equal shares
    "data.batch_size=16",
    "data.eval_batch_size=6",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
    "trainer.max_epochs=2",
    "optimizer=sgd",
    "optimizer.lr=0.05",
)


@dataclass
class Rank:
    """One process and what it says."""

    pid: int
    out: Any
    code: int | None = None

    def said(self) -> str:
        self.out.seek(0)
        return str(self.out.read().decode())


class Ranks(list[Rank]):
    """The processes of a training."""

    def kill(self, rank: int, number: int = signal.SIGKILL) -> None:
        os.kill(self[rank].pid, number)

    def wait(self, seconds: float) -> float:
        """Until all have ended; the seconds that it took.

        Raises:
            AssertionError: they do not in time.
        """
        begun = time.monotonic()
        while waiting := [rank for rank in self if rank.code is None]:
            for rank in waiting:
                pid, status = os.waitpid(rank.pid, os.WNOHANG)
                if pid:
                    rank.code = os.waitstatus_to_exitcode(status)
            taken = time.monotonic() - begun
            assert taken < seconds, "still running: " + "\n".join(rank.said() for rank in self)
            time.sleep(0.02)
        return time.monotonic() - begun


@contextmanager
def ranks(count: int, *words: str, cwd: Path, **environment: str) -> Iterator[Ranks]:
    """`python -m project.train <words>` in `count` processes, forked from this one, which has imported torch already."""
    import project.runs.training  # noqa: F401

    port = free_port()
    started = Ranks()
    try:
        for rank in range(count):
            out = tempfile.TemporaryFile()  # noqa: SIM115
            pid = os.fork()
            if pid == 0:
                os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count))
                os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), **environment)
                _become("project.train", list(words), cwd, out.fileno(), out.fileno())
            started.append(Rank(pid, out))
        yield started
    finally:
        for one in started:
            if one.code is None:
                for pid in (*children(one.pid), one.pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                os.waitpid(one.pid, 0)
            one.out.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Waits(Callback):
    """Touches `<folder>/at-<step>` after training batch `step`, and waits for ever; of all ranks, or of one."""

    def __init__(self, folder: str, step: int, rank: int | None = None, seconds: float = 1e6) -> None:
        self.folder, self.step, self.rank, self.seconds = Path(folder), step, rank, seconds

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        if trainer.fit_loop.total_batch_idx + 1 == self.step and self.rank in (None, trainer.global_rank):
            (self.folder / f"rank-{trainer.global_rank}").touch()
            time.sleep(self.seconds)


class Records(Callback):
    """Writes the loss of every training batch, as this rank measures it, to `<folder>/losses-<rank>`."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *args: Any) -> None:
        with (self.folder / f"losses-{trainer.global_rank}").open("a") as file:
            file.write(f"{float(outputs['loss']):.9g}\n")
