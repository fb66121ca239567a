"""Who lives and who is dead, told from outside: processes that are killed, paused, and as old as others."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from project.sweeps.owners import BEATS_MISSED, WORKERS, Owner, is_alive, living, started, this_machine
from tests.sweeps.processes import kill, process

HEARTBEAT = 2.0
LONG_AGO = 2 * BEATS_MISSED * HEARTBEAT
Worker = tuple[BaseProcess, dict[str, Any]]


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """A process that lives as an owner, until it is killed, and its record."""

    def work(send: Callable[[Any], None]) -> None:
        with living(tmp_path) as owner:
            send(owner.record())
            time.sleep(60)

    with process(work) as (child, receive):
        yield child, receive()


def silent_since(record: dict[str, Any], seconds: float) -> None:
    """Set back the last sign of life."""
    os.utime(record["lock"], (time.time() - seconds,) * 2)


def ended(child: BaseProcess) -> bool:
    child.join(10)
    return child.exitcode == -signal.SIGKILL


def test_an_owner_is_this_process_for_as_long_as_the_block_runs(tmp_path: Path) -> None:
    with living(tmp_path) as owner, living(tmp_path) as other:
        assert owner.token != other.token
        assert owner == Owner(owner.token, this_machine(), os.getpid(), started(os.getpid()) or "", owner.lock)
        assert Path(owner.lock) == tmp_path / WORKERS / f"{owner.token}.lock"
        assert owner.record() == {
            "token": owner.token,
            "machine": owner.machine,
            "pid": os.getpid(),
            "started": owner.started,
            "lock": owner.lock,
        }
        with pytest.raises(TimeoutError), FileLock(owner.lock, timeout=0):
            pass
        assert is_alive(owner.record(), HEARTBEAT)
    assert list((tmp_path / WORKERS).iterdir()) == []
    assert not is_alive(owner.record(), HEARTBEAT)


def test_a_beat_is_a_sign_of_life(tmp_path: Path) -> None:
    with living(tmp_path) as owner:
        silent_since(owner.record(), LONG_AGO)
        before = time.time()
        owner.beat()
        assert Path(owner.lock).stat().st_mtime >= before - 0.1


def test_nobody_is_not_alive() -> None:
    assert not is_alive(None, HEARTBEAT)


def test_a_worker_lives_while_it_holds_its_lock_and_is_dead_once_it_is_killed(worker: Worker) -> None:
    child, record = worker
    assert (record["pid"], record["machine"]) == (child.pid, this_machine())
    assert is_alive(record, HEARTBEAT)
    assert is_alive(record, HEARTBEAT, stale=True)  # the lock file's time tells, here
    kill(child)
    assert Path(record["lock"]).exists()
    assert not is_alive(record, HEARTBEAT)
    assert not is_alive(record, HEARTBEAT, stale=False)


def test_a_worker_is_dead_before_anybody_has_waited_for_it(worker: Worker) -> None:
    child, record = worker
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the table of processes
    assert started(child.pid) is None
    assert not is_alive(record, HEARTBEAT)


def test_what_a_worker_has_forked_does_not_live_for_it(tmp_path: Path) -> None:
    def work(send: Callable[[Any], None]) -> None:
        with living(tmp_path) as owner:
            if os.fork() == 0:  # a data loader's process has the open lock file, too
                time.sleep(60)
                os._exit(0)
            send(owner.record())
            time.sleep(60)

    with process(work) as (child, receive):
        record = receive()
        children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        kill(child)
        try:
            assert len(children) == 1
            assert not is_alive(record, HEARTBEAT)
        finally:
            for forked in children:
                os.kill(int(forked), signal.SIGKILL)


def test_another_process_of_the_same_number_is_not_the_worker(worker: Worker) -> None:
    child, record = worker
    assert not is_alive(record | {"started": str(int(record["started"]) + 1)}, HEARTBEAT)
    assert child.is_alive()
    assert is_alive(record, HEARTBEAT)


def test_a_paused_worker_lives_until_its_signs_of_life_are_missed_and_is_then_ended(worker: Worker) -> None:
    child, record = worker
    os.kill(record["pid"], signal.SIGSTOP)
    assert is_alive(record, HEARTBEAT)
    silent_since(record, BEATS_MISSED * HEARTBEAT - 1)
    assert is_alive(record, HEARTBEAT)
    assert child.is_alive()
    silent_since(record, BEATS_MISSED * HEARTBEAT + 1)
    since = time.monotonic()
    assert not is_alive(record, HEARTBEAT)
    assert time.monotonic() - since < 10
    assert ended(child)
    assert not is_alive(record, HEARTBEAT)


def test_a_worker_that_has_only_slept_with_its_machine_is_left_alone(tmp_path: Path) -> None:
    def work(send: Callable[[Any], None]) -> None:
        with living(tmp_path) as owner:
            send(owner.record())
            while True:
                time.sleep(0.2)
                owner.beat()

    with process(work) as (child, receive):
        record = receive()
        silent_since(record, LONG_AGO)
        assert is_alive(record, HEARTBEAT)
        assert child.is_alive()


def test_asking_is_no_sign_of_life(worker: Worker) -> None:
    _, record = worker
    silent_since(record, HEARTBEAT)
    before = Path(record["lock"]).stat().st_mtime_ns
    assert is_alive(record, HEARTBEAT)
    assert Path(record["lock"]).stat().st_mtime_ns == before
    assert [path.name for path in Path(record["lock"]).parent.iterdir()] == [Path(record["lock"]).name]


def test_on_another_machine_the_signs_of_life_tell(worker: Worker) -> None:
    child, record = worker
    there = record | {"machine": "elsewhere 0", "started": "0"}
    assert is_alive(there, HEARTBEAT)
    silent_since(record, BEATS_MISSED * HEARTBEAT - 1)
    assert is_alive(there, HEARTBEAT)
    silent_since(record, BEATS_MISSED * HEARTBEAT + 1)
    assert not is_alive(there, HEARTBEAT)
    assert child.is_alive()  # a process of that number here is another one


def test_on_another_machine_without_a_common_folder_the_storage_tells(tmp_path: Path) -> None:
    record = Owner("0", "elsewhere 0", os.getpid(), "0", str(tmp_path / "not here.lock")).record()
    assert is_alive(record, HEARTBEAT, stale=False)
    assert not is_alive(record, HEARTBEAT, stale=True)


def test_a_process_began_when_it_began(worker: Worker) -> None:
    child, record = worker
    assert child.pid is not None
    assert record["started"] == started(child.pid)
    assert int(record["started"]) >= int(started(os.getpid()) or "")
    kill(child)
    assert started(child.pid) is None


def test_a_process_s_name_may_hold_anything(tmp_path: Path) -> None:
    def work(send: Callable[[Any], None]) -> None:
        Path("/proc/self/comm").write_text("a) S 1 (b")
        send(started(os.getpid()))
        time.sleep(60)

    with process(work) as (child, receive):
        assert child.pid is not None
        assert receive() == started(child.pid)
        assert int(started(child.pid) or "") >= int(started(os.getpid()) or "")
