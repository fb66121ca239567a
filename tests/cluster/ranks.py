"""Several processes of one training, as torchrun or srun start them: from outside, told apart by their environment."""

import contextlib
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from project.distributed.family import children
from project.errors import UserError
from tests.cluster.hosts import Host
from tests.commands import become

TINY = (
    "model=mlp",
    "model.net.hidden=[8]",
    "data=shapes",
    "data.train_images=88",  # 78 to train on: 4 batches of 16; 10 to validate on
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
        return os.pread(self.out.fileno(), 1_000_000, 0).decode()  # whoever writes keeps its place

    def ended(self) -> bool:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None

    def wait(self, seconds: float) -> None:
        """Until it has ended.

        Raises:
            AssertionError: it does not in time.
        """
        end = time.monotonic() + seconds
        while not self.ended():
            assert time.monotonic() < end, f"still running: {self.said()}"
            time.sleep(0.02)


class Ranks(list[Rank]):
    """The processes of a training."""

    def kill(self, rank: int, number: int = signal.SIGKILL) -> None:
        os.kill(self[rank].pid, number)

    def wait(self, seconds: float) -> None:
        for rank in self:
            rank.wait(seconds)

    def reach(self, signs: list[Path], seconds: float = 240) -> None:
        """Until these files are there.

        Raises:
            AssertionError: a process ends before that, or it takes longer.
        """
        end = time.monotonic() + seconds
        while not all(sign.exists() for sign in signs):
            ended = [rank.ended() for rank in self]
            assert not any(ended) and time.monotonic() < end, "\n".join(rank.said() for rank in self)  # noqa: PT018
            time.sleep(0.02)


@contextmanager
def ranks(count: int, *words: str, cwd: Path, hosts: Sequence[Host] = (), by_hand: bool = False) -> Iterator[Ranks]:
    """`python -m project.train <words>` in `count` processes, forked from this one, which has imported torch already.

    Args:
        count: of processes.
        words: of the command line.
        cwd: where they run.
        hosts: one for each, where they are not all on this one.
        by_hand: a person starts the command on each host, and Lightning the other processes there.
    """
    import project.runs.training  # noqa: F401

    port = free_port()
    started = Ranks()
    try:
        for rank in range(count):
            out = tempfile.TemporaryFile()  # noqa: SIM115
            pid = os.fork()
            if pid == 0:
                try:
                    _tell_apart(rank, count, port, hosts, by_hand)
                except BaseException:
                    os._exit(99)
                become("project.train", list(words), cwd, out.fileno(), out.fileno())
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


def train_by(count: int, *words: str, cwd: Path, seconds: float = 240) -> None:
    """Train in so many processes, to the end.

    Raises:
        AssertionError: one of them fails, or it takes longer.
    """
    with ranks(count, *words, cwd=cwd, by_hand=count == 1) as started:
        started.wait(seconds)
        for rank in started:
            assert rank.code == 0, rank.said()


def _tell_apart(rank: int, count: int, port: int, hosts: Sequence[Host], by_hand: bool) -> None:
    """What the environment of this process says of the others."""
    if by_hand and not hosts:
        return
    os.environ.update(MASTER_ADDR=hosts[0].address if hosts else "127.0.0.1", MASTER_PORT=str(port))
    if hosts:
        hosts[rank].enter()
    if by_hand:
        os.environ.update(NODE_RANK=str(rank))
    else:
        local, group = ("0", str(rank)) if hosts else (str(rank), "0")
        os.environ.update(RANK=str(rank), LOCAL_RANK=local, GROUP_RANK=group, WORLD_SIZE=str(count))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Waits(Callback):
    """After training batch `step` writes `<folder>/rank-<rank>`, once, and waits; all ranks, or one."""

    def __init__(self, folder: str, step: int, rank: int | None = None, seconds: float = 1e6) -> None:
        self.folder, self.step, self.rank, self.seconds = Path(folder), step, rank, seconds

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        if trainer.fit_loop.total_batch_idx + 1 == self.step and self.rank in (None, trainer.global_rank):
            sign = self.folder / f"rank-{trainer.global_rank}"
            if not sign.exists():
                sign.write_text(str(os.getpid()))
                time.sleep(self.seconds)


class Lingers(Callback):
    """Epochs take so many seconds longer, so that others have time to start."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        time.sleep(self.seconds)


class Tells(Callback):
    """Writes what a trial is trained with, as this rank knows it, to `<folder>/<trial>-<rank>`."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        rate = trainer.optimizers[0].param_groups[0]["initial_lr"]
        trial = Path(str(trainer.default_root_dir)).name
        (self.folder / f"{trial}-{trainer.global_rank}").write_text(repr(rate))


class Refuses(Callback):
    """A mistake that one rank alone finds, before batch `step`."""

    def __init__(self, rank: int, step: int) -> None:
        self.rank, self.step = rank, step

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_rank == self.rank and trainer.fit_loop.total_batch_idx + 1 == self.step:
            raise UserError(f"rank {self.rank} does not like batch {self.step}")


class Normed(nn.Module):
    """A network with two kinds of batch norm."""

    def __init__(self, image_shape: Sequence[int], num_classes: int, **options: Any) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(image_shape[0], 4, 5, stride=4),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.LazyLinear(8),
            nn.BatchNorm1d(8, affine=False, momentum=None),
            nn.ReLU(),
            nn.Linear(8, num_classes),
        )
        self.layers(torch.zeros(2, *image_shape))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)
