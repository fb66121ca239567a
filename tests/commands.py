"""Commands in processes forked from this one, which has imported torch and Lightning already.

An interpreter that imports them anew takes seconds, and a command like `python -m project.train sweep=...` needs two:
one for itself, and one for the server that its workers are forked from. Here both are forked. All else is the command's
own: its words, environment, folder, session and signals, `__main__`, and its end.
"""

import atexit
import contextlib
import fcntl
import importlib
import logging
import os
import pickle
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver, process, util
from pathlib import Path
from typing import IO, Any, NoReturn

from project.sweeps.local_launcher import OF_A_DATABASE

ROOT = Path(__file__).resolve().parents[1]
# what commands import sooner or later, imported once
NEEDED = (
    "project.runs.training", "project.sweeps.trial", "project.sweeps.sweeper", "project.sweeps.head",
    "project.sweeps.report", "optuna.importance", "optuna.visualization", "plotly.subplots", "plotly.graph_objs",
    "plotly.io", "project.tasks.classification", "project.data.shapes", *OF_A_DATABASE,
)  # fmt: skip
SERVER = "from multiprocessing.forkserver import main;"  # how multiprocessing starts its server


class Command:
    """A running command; of `subprocess.Popen` what tests ask for.

    Args:
        pid: of its process, which is the first of a session.
        args: the words that started it.
        out, err: files for what it says; the same one for both: it is said together.
    """

    def __init__(self, pid: int, args: list[str], out: Any, err: Any) -> None:
        self.pid, self.args = pid, args
        self._out, self._err = out, err
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float = 300) -> int:
        """Until it has ended: its exit code.

        Raises:
            subprocess.TimeoutExpired: it still runs after so many seconds.
        """
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(0.01)
        return code

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """Wait for its end: what it said, on both streams."""
        self.wait(timeout)
        return self._said(self._out), self._said(self._err)

    def send_signal(self, number: int) -> None:
        """To the command alone, not to what it has started."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _said(self, file: Any) -> str:
        return os.pread(file.fileno(), 2**24, 0).decode()  # who writes keeps its place


def start_module(
    module: str,
    *words: str,
    cwd: Path,
    environment: Mapping[str, str | None] | None = None,
    together: bool = False,
    said: IO[bytes] | None = None,
) -> Command:
    """What `python -m <module> <words>` does, in a process forked from this one.

    Args:
        module: e.g. `project.train`.
        words: of the command line.
        cwd: where it runs.
        environment: changes to this process's; None takes a variable away.
        together: standard error goes where standard output goes.
        said: an open file for both; None: files of their own.
    """
    for name in NEEDED:
        importlib.import_module(name)
    out = said or tempfile.TemporaryFile()  # noqa: SIM115
    err = out if together or said else tempfile.TemporaryFile()  # noqa: SIM115
    child = os.fork()
    if child == 0:
        for name, value in (environment or {}).items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        become(module, list(words), cwd, out.fileno(), err.fileno())
    with contextlib.suppress(ProcessLookupError):
        while os.getsid(child) != child:  # from now on whoever kills its session finds it
            time.sleep(0.001)
    return Command(child, [module, *words], out, err)


def run_module(module: str, *words: str, cwd: Path, timeout: float = 300) -> "subprocess.CompletedProcess[str]":
    """The same, to its end."""
    command = start_module(module, *words, cwd=cwd)
    try:
        out, err = command.communicate(timeout)
    except subprocess.TimeoutExpired:
        command.send_signal(signal.SIGKILL)
        command.wait()
        raise
    return subprocess.CompletedProcess([module, *words], command.wait(), out, err)


def forked(module: str, words: Sequence[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    """In the place of `project.benchmarks.processes.run_module`."""
    return run_module(module, *words, cwd=folder)


def become(module: str, words: list[str], cwd: Path, out: int, err: int) -> NoReturn:
    """This process, which has just been forked, goes on as the one that runs `module`."""
    code = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdin, sys.stdout, sys.stderr = (
            os.fdopen(number, mode, closefd=False) for number, mode in ((0, "r"), (1, "w"), (2, "w"))
        )
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        os.chdir(cwd)
        _forget_what_others_wait_for()
        _forget_cuda()
        if sys.platform == "linux" and any(word.startswith("sweep=") for word in words):
            _keep_a_server()
        sys.argv = [module, *words]
        sys.orig_argv[1:] = ["-m", module, *words]
        warnings.filterwarnings("ignore", "'project.* found in sys.modules", RuntimeWarning)
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except BaseException:
            traceback.print_exc()
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        for last in (threading._shutdown, atexit._run_exitfuncs, sys.stdout.flush, sys.stderr.flush):  # type: ignore[attr-defined]
            with contextlib.suppress(Exception):
                last()
        os._exit(code)


def _forget_what_others_wait_for() -> None:
    """Children, a server and exits of the process that this one was forked from are not this one's."""
    server: Any = forkserver._forkserver  # type: ignore[attr-defined]
    server._forkserver_address = server._forkserver_alive_fd = server._forkserver_pid = None
    process._children.clear()  # type: ignore[attr-defined]
    atexit._clear()
    atexit.register(logging.shutdown)  # which their modules have registered before
    atexit.register(util._exit_function)  # type: ignore[attr-defined]


def _forget_cuda() -> None:
    """Where there are no GPUs, that the process before this fork has counted them hinders no further one."""
    import torch

    if not torch.cuda.is_available():
        torch.cuda._is_in_bad_fork = lambda: False


def _keep_a_server() -> None:
    """Fork the process that is to be multiprocessing's server, as long as this one has done nothing that it would
    inherit; it waits until it is asked for, and ends with this one."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server = os.fork()
    if server == 0:
        ours.close()
        _wait_and_serve(its)
    its.close()
    start: Any = util.spawnv_passfds

    def spawned(path: Any, args: Sequence[Any], fds: Sequence[int]) -> int:
        if not str(args[-1]).startswith(SERVER) or ours.fileno() < 0:
            return int(start(path, args, fds))
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        order = pickle.dumps((str(args[-1]), list(fds), dict(os.environ), str(Path.cwd()), set(mask)))
        try:
            socket.send_fds(ours, [order], list(fds))
        except OSError:  # somebody has killed it
            return int(start(path, args, fds))
        finally:
            ours.close()
        return server

    util.spawnv_passfds = spawned  # type: ignore[assignment]


def _wait_and_serve(its: socket.socket) -> NoReturn:
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGINT, signal.SIGTERM})
        order, received, *_ = socket.recv_fds(its, 2**20, 16)
        its.close()
        if not order:  # the command has ended
            os._exit(0)
        code, numbers, environment, folder, mask = pickle.loads(order)
        held = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, max(numbers) + 1) for descriptor in received]
        for descriptor in received:
            os.close(descriptor)
        for number, descriptor in zip(numbers, held, strict=True):  # under the numbers that the order calls them by
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        exec(code, {})
    finally:
        os._exit(0)
