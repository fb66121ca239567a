"""Trainings on several devices, in a process of their own below the worker.

Lightning forks such a training's ranks from the process that starts it, and to fork is safe only before that process
has computed anything itself; a worker starts many. So each is started by a process that is forked from the worker,
which computes nothing, and ends with the training.
"""

import contextlib
import multiprocessing as mp
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, open_dict

from project.errors import Stopped, UserError
from project.sweeps.placing import visible_gpus

SECONDS_TO_STOP = 60.0


def needs_several_processes(cfg: DictConfig) -> bool:
    """Whether the config's trainer runs more than one process."""
    devices = cfg.trainer.get("devices", 1)
    if str(devices) in ("auto", "-1"):
        count = len(visible_gpus()) if str(cfg.trainer.get("accelerator", "auto")) != "cpu" else 1
    elif isinstance(devices, int | str):
        count = int(devices) if str(devices).isdigit() else len(str(devices).split(","))
    else:
        count = len(devices)
    return count > 1 or int(cfg.trainer.get("num_nodes", 1)) > 1


def forking(cfg: DictConfig) -> None:
    """Choose the strategy that a worker can start.

    Raises:
        UserError: the config asks for one that starts the whole command once more.
    """
    strategy = cfg.trainer.get("strategy", "auto")
    if int(cfg.trainer.get("num_nodes", 1)) > 1:
        raise UserError("trainer.num_nodes > 1 in a sweep: a trial trains on one machine; take trainer.num_nodes=1")
    if strategy in ("auto", "ddp"):
        with open_dict(cfg):
            cfg.trainer.strategy = "ddp_fork"
    elif not isinstance(strategy, str) or "fork" not in strategy:
        raise UserError(
            f"trainer.strategy={strategy} in a sweep: only strategies whose processes are forked, e.g. ddp_fork, train "
            "the same parameters in all of them"
        )


def apart(function: Callable[[], Any]) -> None:
    """Run `function` in a forked process, and wait for it; what it raises is raised here.

    SIGTERM reaches all its processes, and none outlives this one.

    Raises:
        Stopped: this process was asked to stop; the training has written what it can.
        Exception: what `function` raised.
    """
    receiver, sender = mp.get_context("fork").Pipe(duplex=False)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
        os._exit(_told(function, sender))
    with contextlib.suppress(OSError):
        os.setpgid(child, child)
    sender.close()
    try:
        error = _received(receiver)
    except Stopped:
        _stop_all(child)
        raise
    finally:
        receiver.close()
        _, status = os.waitpid(child, 0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # whatever it has left
    if error is not None:
        raise error
    if status != 0:
        raise RuntimeError(f"the training's process ended with status {os.waitstatus_to_exitcode(status)}")


def _told(function: Callable[[], Any], sender: Any) -> int:
    error: BaseException | None = None
    try:
        function()
    except BaseException as raised:
        error = raised
    try:
        sender.send_bytes(pickle.dumps(error))
    except (pickle.PicklingError, TypeError, AttributeError):
        sender.send_bytes(pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}")))
    sender.close()
    return 0


def _received(receiver: Any) -> BaseException | None:
    try:
        error: BaseException | None = pickle.loads(receiver.recv_bytes())  # our own child's
        return error
    except EOFError:
        return RuntimeError("the training's process was killed (out of memory?)")


def _stop_all(group: int) -> None:
    """SIGTERM to all of the training's processes; SIGKILL to those that don't heed it in time."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
        for _ in range(int(SECONDS_TO_STOP / 0.1)):
            time.sleep(0.1)
            if not _others(group):
                break
        os.killpg(group, signal.SIGKILL)


def _others(group: int) -> bool:
    """Whether processes of the group still run."""
    try:
        os.waitid(os.P_PID, group, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return any(_group_of(name) == group for name in _processes())
    except (ChildProcessError, FileNotFoundError):
        return False


def _processes() -> list[str]:
    return [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _group_of(pid: str) -> int | None:
    try:
        state, _, group, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state == "Z" else int(group)
    except OSError:
        return None


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.killpg(0, signal.SIGKILL)
