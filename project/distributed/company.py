"""The processes of one training: one folder for all, and a watch over each other."""

import contextlib
import json
import logging
import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning import Callback, LightningModule, Trainer
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from omegaconf import DictConfig
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from project.distributed.launch import Launch, launched, timeout_of
from project.distributed.watch import SECONDS_TO_COLLECT, Watch
from project.errors import LostRank, Stopped, UserError

# tell the processes that Lightning's launcher starts where rank 0 writes, and where it waits for their signs of life
FOLDER_OF_RANK_0, WATCH_OF_RANK_0 = "PROJECT_RUN_FOLDER", "PROJECT_RUN_WATCH"
OF_LIGHTNING_S_LAUNCHER = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")
SET_BY_LAUNCHERS = (WATCH_OF_RANK_0, FOLDER_OF_RANK_0, *OF_LIGHTNING_S_LAUNCHER)
OF_COLLECTIVES = ("gloo", "NCCL", "nccl", "onnection", "Broken pipe", "socket", "ProcessGroup")
_trainings = 0  # of this process: each has keys of its own in the store


class Company:
    """This process's place among those of its training.

    Args:
        cfg: the run's config.

    Attributes:
        first: whether this process makes the run's folder and writes into it.
        watch: over the others; None until they have met.

    Raises:
        UserError: the others did not come within `trainer.timeout`.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.timeout = timeout_of(cfg)
        self.nodes = int(cfg.trainer.get("num_nodes", 1))
        self.folder: Path | None = None
        self.watch: Watch | None = None
        self.launch = launched()
        self.store: Any = None
        self.first = True
        if FOLDER_OF_RANK_0 in os.environ and int(os.environ.get("LOCAL_RANK", "0")) > 0:
            self.first, self.folder = False, Path(os.environ[FOLDER_OF_RANK_0])
            world_size = int(os.environ["WORLD_SIZE"])
            node, each = int(os.environ["NODE_RANK"]), world_size // self.nodes
            self._watch(node * each + int(os.environ["LOCAL_RANK"]), world_size, _through_environment)
        elif self.launch is not None and self.launch.world_size > 1:
            self.first = self.launch.rank == 0
            self.store = self._meet(self.launch.rank, self.launch.world_size)
            self._watch(self.launch.rank, self.launch.world_size, self._through_store)
        elif self.nodes > 1:
            node = _node_of_many(self.nodes)
            self.first = node == 0
            self.store = self._meet(node, self.nodes)

    def share(self, make: Callable[[], Path]) -> Path:
        """The run's folder: rank 0 makes it, the others are told.

        Raises:
            UserError: rank 0 could not make it, or this host does not see it.
        """
        if self.folder is not None:
            return self.folder
        if self.store is None:
            self.folder = make()
        elif self.first:
            try:
                self.folder = make()
            except BaseException as error:
                self._through_store({"error": str(error)}, "folder")
                raise
            self._through_store({"folder": str(self.folder)}, "folder")
        else:
            told = self._through_store(None, "folder")
            if "error" in told:
                raise LostRank(told["error"], told=False)
            self.folder = Path(told["folder"])
            if not self.folder.is_dir():
                raise UserError(
                    f"{self.folder}, the run's folder on rank 0's host, is not on this one: choose a folder that all "
                    "hosts see, with outputs=<folder> or folder=<folder>"
                )
        return self.folder

    def expect(self, trainer: Trainer) -> None:
        """Lightning's launcher is about to start this host's other processes: they are told where to meet."""
        launcher = trainer.strategy.launcher
        if self.watch is not None or trainer.world_size == 1 or not isinstance(launcher, _SubprocessScriptLauncher):
            return
        if HydraConfig.initialized() and HydraConfig.get().mode is RunMode.MULTIRUN:
            raise UserError(
                "several processes of a trial cannot be started by the whole command once more: take "
                "sweep.devices_per_trial, or trainer.strategy=ddp_fork"
            )
        each = trainer.world_size // self.nodes
        node = int(os.environ["NODE_RANK"]) if self.nodes > 1 else 0
        os.environ[FOLDER_OF_RANK_0] = str(self.folder)
        exchange = _through_environment if self.store is None else self._through_store
        self._watch(node * each, trainer.world_size, exchange)

    def gather(self, trainer: Trainer) -> None:
        """Begin to watch the others, if that has not begun: they were forked, and have formed their process group."""
        if trainer.world_size > 1 and (self.watch is None or self.watch.owner != os.getpid()):
            self._watch(trainer.global_rank, trainer.world_size, lambda offer: trainer.strategy.broadcast(offer, src=0))

    def explain(self, error: BaseException) -> BaseException:
        """`error`, or what stands behind it: a collective operation fails in all when one is lost."""
        if self.watch is None or isinstance(error, UserError):
            return error
        seconds = 0.0
        if isinstance(error, Stopped):  # torchrun stops the others when one of them has ended
            seconds = 0.0 if self.launch is None else SECONDS_TO_COLLECT + 0.5
        elif isinstance(error, dist.DistError) or any(word in str(error) for word in OF_COLLECTIVES):
            seconds = self.watch.patience + 2
        loss = self.watch.reason(seconds)
        if loss is None or (isinstance(error, Stopped) and loss.stopped):
            return error
        return LostRank(loss.text, self.watch.tells())

    def leave(self, error: BaseException | None = None) -> None:
        """Part from the others; with an error they end too."""
        if self.watch is not None:
            self.watch.leave(None if error is None else str(error) or type(error).__name__, isinstance(error, Stopped))

    def _watch(self, rank: int, world_size: int, exchange: Callable[[Any], Any]) -> None:
        address = os.environ.get("MASTER_ADDR") if self.nodes > 1 else None
        started_here = self.launch is None and self.nodes == 1  # and by Lightning, which looks after them meanwhile
        self.watch = Watch(rank, world_size, self.timeout, self._advice, _dismiss_lightning_s_observer)

        if started_here:
            self.watch.arrival = math.inf

        def offered(offer: Any) -> Any:
            told = exchange(offer)
            os.environ[WATCH_OF_RANK_0] = json.dumps(told)
            return told

        try:
            self.watch.start(offered, address)
        except OSError as error:
            raise UserError(f"rank {rank} cannot reach rank 0 at {address}: {error}") from error

    def _advice(self) -> str:
        if self.folder is not None and any(self.folder.glob("checkpoints/*.ckpt")):
            return f"To go on: python -m project.train resume={self.folder}"
        return "Nothing was trained yet."

    def _meet(self, rank: int, world_size: int) -> Any:
        global _trainings
        _trainings += 1
        at = _meeting_point(self.launch)
        try:
            store, *_ = next(
                rendezvous("env://", rank=rank, world_size=world_size, timeout=timedelta(seconds=self.timeout))
            )
        except (RuntimeError, ValueError) as error:  # what a rendezvous raises shares no other base
            raise UserError(
                f"rank {rank} of {world_size} did not meet the others at {at} within trainer.timeout={self.timeout:g} "
                f"s: {' '.join(str(error).split())[:200]}"
            ) from error
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return PrefixStore(f"project/{attempt}/{_trainings}", store)

    def _through_store(self, offer: Any, key: str = "watch") -> Any:
        """Rank 0's `offer`, for all."""
        if self.first:
            self.store.set(key, json.dumps(offer))
            return offer
        try:
            self.store.wait([key], timedelta(seconds=self.timeout))
            return json.loads(self.store.get(key))
        except RuntimeError as error:
            raise self.explain(UserError(f"rank 0 did not say within {self.timeout:g} s where the run is")) from error


class Watching(Callback):
    """Watches the other processes of a training while it trains and tests."""

    def __init__(self, company: Company) -> None:
        self.company, self.owner = company, os.getpid()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.company.gather(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if os.getpid() != self.owner:  # forked for this stage alone
            self.company.leave()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Raises:
        LostRank: another process is the cause.
        """
        cause = self.company.explain(exception)
        if os.getpid() != self.owner:
            self.company.leave(cause)
        if cause is not exception:
            raise cause from exception


@contextmanager
def together(cfg: DictConfig) -> Iterator[Company]:
    """The processes of this training: none leaves without telling the others why.

    Raises:
        LostRank: another process is the cause of what was raised here.
    """
    company, before = Company(cfg), {name: os.environ.get(name) for name in SET_BY_LAUNCHERS}
    try:
        yield company
        company.leave()
    except BaseException as error:
        cause = company.explain(error)
        company.leave(cause)
        if cause is not error:
            raise cause from error
        raise
    finally:
        for name, value in before.items():  # the next training of this process starts its own
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def silent() -> Iterator[None]:
    """Of several processes one says what there is to say."""
    logger = logging.getLogger("project")
    before, nothing = logger.propagate, logging.NullHandler()
    logger.propagate = False
    logger.addHandler(nothing)
    try:
        yield
    finally:
        logger.removeHandler(nothing)
        logger.propagate = before


def _through_environment(offer: Any) -> Any:
    """Rank 0's offer, for itself and for those that it starts."""
    return json.loads(os.environ[WATCH_OF_RANK_0]) if offer is None else offer


def _node_of_many(nodes: int) -> int:
    """This host's number; a person has started the command on each.

    Raises:
        UserError: the environment does not say how the hosts find each other.
    """
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if name not in os.environ]
    if missing:
        raise UserError(
            f"trainer.num_nodes={nodes}: start the command on every host, by torchrun or srun, or with "
            "MASTER_ADDR=<the first host> MASTER_PORT=<a free port there> NODE_RANK=<0, 1, ...> in the environment; "
            f"missing: {', '.join(missing)}"
        )
    return int(os.environ["NODE_RANK"])


def _meeting_point(launch: Launch | None) -> str:
    if launch is not None and launch.by == "srun":
        try:
            environment = SLURMEnvironment()
        except RuntimeError as error:
            raise UserError(" ".join(str(error).split())) from error
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = environment.main_address, str(environment.main_port)
    return f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"


def _dismiss_lightning_s_observer() -> None:
    """It would kill this process, too, before it can say which one was lost."""
    for thread in threading.enumerate():
        if thread.name == "child-process-observer":
            with contextlib.suppress(AttributeError):
                thread._child_processes = []  # type: ignore[attr-defined]
