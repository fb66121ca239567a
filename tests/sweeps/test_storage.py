"""What is left of a study after kills, power cuts and full disks, and who may write to it."""

import errno
import json
import os
import random
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.trial import TrialState

from project.errors import UserError
from project.sweeps.passwords import masked, scrubbed
from project.sweeps.storage import JOURNAL, Journal, KernelLock, mend, open_storage, study_lock
from tests.sweeps.processes import kill, process

State = list[tuple[Any, ...]]
SQLITE = "sqlite:///{folder}/study.db"


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def study_in(folder: Path) -> optuna.Study:
    """The study of the journal in `folder`, read from the file; a new one, if there is none."""
    storage = open_storage(None, folder, 15)
    if storage.get_all_studies():
        return optuna.load_study(study_name="s", storage=storage)
    return optuna.create_study(study_name="s", storage=storage)


def one_trial(study: optuna.Study) -> int:
    """A trial with a record of every kind; its number."""
    trial = study.ask()
    trial.suggest_float("lr", 1e-4, 1, log=True)
    trial.suggest_categorical("net", ["[512]", "[512,256]"])
    trial.report(0.5, 1)
    trial.set_user_attr("words", ["a=1", 'b="ü, \\ "'])
    study.tell(trial, float(trial.number))
    return trial.number


def state_of(study: optuna.Study) -> State:
    return [
        (trial.number, trial.state, trial.values, trial.params, trial.intermediate_values, trial.user_attrs)
        for trial in study.get_trials()
    ]


def last_line(data: bytes) -> int:
    """Where it begins."""
    return data.rstrip(b"\n").rfind(b"\n") + 1


def test_a_last_line_cut_at_any_byte_is_mended(tmp_path: Path) -> None:
    study, path = study_in(tmp_path), tmp_path / JOURNAL
    one_trial(study)
    before_last = len(path.read_bytes())
    one_trial(study)
    whole = path.read_bytes()
    begin = last_line(whole)
    assert before_last < begin
    assert json.loads(whole[begin:])["op_code"] == 6  # the second trial's value
    all_records = state_of(study)
    assert [state for _, state, *_ in all_records] == [TrialState.COMPLETE] * 2

    for kept in range(len(whole) - begin):
        path.write_bytes(whole[: begin + kept])
        found = study_in(tmp_path)
        without_end = kept == len(whole) - begin - 1
        assert path.read_bytes() == (whole if without_end else whole[:begin]), kept
        expected = all_records[1] if without_end else (1, TrialState.RUNNING, None, *all_records[1][3:])
        assert state_of(found) == [all_records[0], expected], kept
        found.tell(found.ask(), 7.0)
        assert state_of(study_in(tmp_path)) == [all_records[0], expected, (2, TrialState.COMPLETE, [7.0], {}, {}, {})]


def test_every_record_of_a_study_may_be_the_last(tmp_path: Path) -> None:
    study = study_in(tmp_path / "whole")
    one_trial(study)
    one_trial(study)
    lines = (tmp_path / "whole" / JOURNAL).read_bytes().splitlines(keepends=True)
    for count, line in enumerate(lines):
        for end in {0, len(line) // 2, len(line) - 1}:
            folder = tmp_path / f"{count}-{end}"
            folder.mkdir()
            (folder / JOURNAL).write_bytes(b"".join(lines[:count]) + line[:end])
            found = study_in(folder)
            numbers = [trial.number for trial in found.get_trials()]
            assert numbers == list(range(len(numbers)))
            assert one_trial(found) == len(numbers)
            assert state_of(study_in(folder)) == state_of(found)


@pytest.mark.parametrize(
    ("content", "mended", "changed"),
    [
        (b"", b"", False),
        (b'{"a":1}\n', b'{"a":1}\n', False),
        (b'{"a":1}', b'{"a":1}\n', True),
        (b'{"a":1', b"", True),
        (b"{", b"", True),
        (b'{"a":1}\n{"b":2}', b'{"a":1}\n{"b":2}\n', True),
        (b'{"a":1}\n{"b":', b'{"a":1}\n', True),
        (b'{"a":1}\n{"b":"\xc3', b'{"a":1}\n', True),
        (b'{"a":1}\n' + bytes(5000), b'{"a":1}\n', True),
        (b'{"a":1}\n{"b":"' + b"x" * 200_000, b'{"a":1}\n', True),
        (b'{"a":1}\n{"b":"' + b"x" * 65_523, b'{"a":1}\n', True),  # the line is a block of 65,536 bytes but ...
        (b'{"a":1}\n{"b":"' + b"x" * 65_524, b'{"a":1}\n', True),  # ... for one, is one, ...
        (b'{"a":1}\n{"b":"' + b"x" * 65_530, b'{"a":1}\n', True),  # ... and has a few more
        (b'{"b":"' + b"x" * 200_000 + b'"}', b'{"b":"' + b"x" * 200_000 + b'"}\n', True),
    ],
)
def test_mend(tmp_path: Path, content: bytes, mended: bytes, changed: bool) -> None:
    path = tmp_path / JOURNAL
    path.write_bytes(content)
    assert mend(path) is changed
    assert path.read_bytes() == mended
    assert mend(path) is False
    assert path.read_bytes() == mended


def test_a_line_torn_by_another_process_is_mended_by_the_next_writer(tmp_path: Path) -> None:
    writer, reader = study_in(tmp_path), study_in(tmp_path)
    one_trial(writer)
    before = (tmp_path / JOURNAL).read_bytes()
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b'{"op_code":4,"worker_id":"killed in the mid')
    assert len(reader.get_trials()) == 1  # it is not read
    assert one_trial(writer) == 1
    assert state_of(reader) == state_of(writer) == state_of(study_in(tmp_path))
    assert (tmp_path / JOURNAL).read_bytes().startswith(before)
    assert b"killed" not in (tmp_path / JOURNAL).read_bytes()


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    count, each = 3, 15
    study_in(tmp_path)

    def work(send: Callable[[Any], None]) -> None:
        study = study_in(tmp_path)
        send("ready")
        send([one_trial(study) for _ in range(each)])

    with process(work) as (_, first), process(work) as (_, second), process(work) as (_, third):
        assert [receive() for receive in (first, second, third)] == ["ready"] * count
        numbers = [receive() for receive in (first, second, third)]
    assert sorted(number for those in numbers for number in those) == list(range(count * each))
    trials = study_in(tmp_path).get_trials()
    assert [(trial.number, trial.state, trial.value) for trial in trials] == [
        (number, TrialState.COMPLETE, float(number)) for number in range(count * each)
    ]
    assert all(trial.intermediate_values == {1: 0.5} and len(trial.params) == 2 for trial in trials)
    assert all(json.loads(line) for line in (tmp_path / JOURNAL).read_bytes().splitlines())


def test_a_lock_of_a_killed_process_stalls_nobody(tmp_path: Path) -> None:
    study = study_in(tmp_path)

    def hold(send: Callable[[Any], None]) -> None:
        lock = KernelLock(str(tmp_path / JOURNAL))
        send(lock.acquire())
        time.sleep(60)

    with process(hold) as (holder, receive):
        assert receive() is True
        done = threading.Event()

        def write() -> None:
            one_trial(study)
            done.set()

        writer = threading.Thread(target=write)
        writer.start()
        assert not done.wait(0.3)  # it waits for the living
        kill(holder)
        assert done.wait(5)
        writer.join()
    assert state_of(study_in(tmp_path)) == state_of(study)


def test_writers_killed_at_any_moment_leave_a_study_that_goes_on(tmp_path: Path) -> None:
    rng = random.Random(0)
    study_in(tmp_path)

    def work(send: Callable[[Any], None]) -> None:
        study = study_in(tmp_path)
        send("ready")
        while True:
            one_trial(study)

    finished = 0
    for _ in range(8):
        with process(work) as (writer, receive):
            receive()
            time.sleep(rng.uniform(0.0, 0.1))
            kill(writer)
        since = time.monotonic()
        study = study_in(tmp_path)
        number = one_trial(study)
        assert time.monotonic() - since < 5
        trials = study.get_trials()
        assert [trial.number for trial in trials] == list(range(number + 1))
        running = [trial for trial in trials if trial.state is TrialState.RUNNING]
        assert len(trials) - len(running) > finished
        finished = len(trials) - len(running)
    assert len(running) <= 8  # one each, at most


@pytest.mark.slow
def test_on_a_full_disk_a_record_is_whole_or_not_there(tmp_path: Path) -> None:
    record = {"op_code": 8, "text": "x" * 30}
    line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
    path = tmp_path / JOURNAL
    for room in range(len(line) + 1):
        path.write_bytes(b'{"a":1}\n')

        def work(send: Callable[[Any], None], room: int = room) -> None:
            journal = Journal(str(path))
            resource.setrlimit(resource.RLIMIT_FSIZE, (8 + room, 8 + room))
            try:
                journal.append_logs([record])
            except OSError as error:
                send(error.errno)
            else:
                send(None)

        with process(work) as (_, receive):
            told = receive()
        fits = room == len(line)
        assert (told, path.read_bytes()) == (None if fits else errno.EFBIG, b'{"a":1}\n' + (line if fits else b"")), (
            room
        )


def test_a_study_on_a_full_disk_can_be_read_and_goes_on_with_more_room(tmp_path: Path) -> None:
    study = study_in(tmp_path)
    one_trial(study)
    path = tmp_path / JOURNAL
    before, size = state_of(study), path.stat().st_size
    for room in (0, 1, 100, 300, 500, 700):
        path.write_bytes(path.read_bytes()[:size])

        def work(send: Callable[[Any], None], room: int = room) -> None:
            full = study_in(tmp_path)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, size + room))
            try:
                one_trial(full)
            except OSError as error:
                send(error.errno)
            else:
                send("written")

        with process(work) as (_, receive):
            assert receive() == errno.EFBIG, room
        data = path.read_bytes()
        assert data.endswith(b"\n")
        assert len(data) <= size + room
        found = study_in(tmp_path)
        assert state_of(found)[0] == before[0]
        assert len(state_of(found)) in (1, 2)
        assert one_trial(found) == len(state_of(found)) - 1
        assert state_of(study_in(tmp_path)) == state_of(found)


URLS = [
    ("postgresql://u:pw@h:5432/db", "postgresql://u:***@h:5432/db"),
    ("postgresql+psycopg://u:secret@h/db", "postgresql+psycopg://u:***@h/db"),
    ("postgresql://u:secret@[::1]:5432/db", "postgresql://u:***@[::1]:5432/db"),
    ("mysql+pymysql://u:sec@ret:a/b@h/db", "mysql+pymysql://u:***@h/db"),
    ("postgresql://u:p%40s%2Fs@h/db", "postgresql://u:***@h/db"),
    ("postgresql://:secret@h/db", "postgresql://:***@h/db"),
    ("postgresql://u@server:secret@h/db", "postgresql://u@server:***@h/db"),
    ("postgresql:///db?host=/tmp&user=u&password=secret", "postgresql:///db?host=/tmp&user=u&password=***"),
    ("mysql+pymysql://h/db?passwd=secret&charset=utf8", "mysql+pymysql://h/db?passwd=***&charset=utf8"),
    ("postgresql://u:one@h/db?sslpassword=two", "postgresql://u:***@h/db?sslpassword=***"),
    ("postgresql://u@h:5432/db", "postgresql://u@h:5432/db"),
    ("postgresql://h/db", "postgresql://h/db"),
    ("sqlite:///x.db", "sqlite:///x.db"),
    ("sqlite:////home/me@work/x.db", "sqlite:////home/me@work/x.db"),
]


@pytest.mark.parametrize(("url", "shown"), URLS)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert masked(url) == shown
    assert scrubbed(f"cannot open {url}", url) == f"cannot open {shown}"


@pytest.mark.parametrize(
    ("url", "text", "left"),
    [
        ("postgresql://u:secret@h/db", "password secret, user u", "password ***, user u"),
        ("postgresql://u:p%40s%2Fs@h/db", "tried p@s/s and p%40s%2Fs", "tried *** and ***"),
        ("postgresql://u:sec@ret@h/db", "tried sec@ret on ret@h", "tried *** on ***@h"),
        ("postgresql://u:secret@h/db?x=@y", "tried secret", "tried ***"),
        ("postgresql://u@server:secret@h/db", "tried secret", "tried ***"),
        ("postgresql:///db?password=s%26t", "tried s&t and s%26t", "tried *** and ***"),
        ("postgresql://u:@h/db", "no password", "no password"),
        ("postgresql://u@h/db", "user u, host h", "user u, host h"),
        ("sqlite:///x.db", "no such file x.db", "no such file x.db"),
    ],
)
def test_a_message_is_told_without_the_password(url: str, text: str, left: str) -> None:
    assert scrubbed(text, url) == left


def test_a_message_without_a_url_is_told_as_it_is() -> None:
    assert scrubbed("anything", None) == "anything"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://user:topsecret@127.0.0.1:1/db",
        "postgresql+psycopg://user:top@secret@127.0.0.1:1/db",
        "postgresql+psycopg://user:topsecret@127.0.0.1:port/db",
        "nosuchbase://user:topsecret@h/db",
        "topsecret",
        "sqlite:////no/such/folder/study.db",
    ],
)
def test_a_storage_that_cannot_be_used_is_refused_without_the_password(tmp_path: Path, url: str) -> None:
    if "psycopg" in url:
        pytest.importorskip("psycopg")
    with pytest.raises(UserError) as error:
        open_storage(url, tmp_path, 15)
    assert str(error.value).startswith(f"cannot use sweep.storage={masked(url)}: ")
    assert "secret" not in str(error.value).replace(masked(url), "")
    assert error.value.__cause__ is None  # a trace would tell it
    assert error.value.__suppress_context__


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_the_memory_of_one_process_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match=r"^sweep\.storage=sqlite:.* memory"):
        open_storage(url, tmp_path, 15)


def test_storages_by_default_and_by_url(tmp_path: Path) -> None:
    assert isinstance(open_storage(None, tmp_path / "new" / "folder", 15), JournalStorage)
    assert (tmp_path / "new" / "folder" / JOURNAL).read_bytes() == b""
    storage = open_storage(SQLITE.format(folder=tmp_path), tmp_path, 2.4)
    assert isinstance(storage, optuna.storages.RDBStorage)
    assert (storage.heartbeat_interval, storage.grace_period) == (2, 8)
    assert (tmp_path / "study.db").exists()


@pytest.mark.parametrize("url", [None, SQLITE])
def test_a_study_s_lock_is_held_by_one_process_and_not_by_the_dead(tmp_path: Path, url: str | None) -> None:
    url = None if url is None else url.format(folder=tmp_path)

    def hold(send: Callable[[Any], None]) -> None:
        with study_lock(url, tmp_path, "my study")():
            send(os.getpid())
            time.sleep(60)

    def wait(send: Callable[[Any], None]) -> None:
        lock = study_lock(url, tmp_path, "my study")
        send("ready")
        with lock():
            send("first")
        with lock():
            send("second")

    with process(hold) as (holder, held), process(wait) as (_, waited):
        assert held() == holder.pid
        with study_lock(url, tmp_path / "other", "other")():  # another study's
            pass
        assert waited() == "ready"
        got: list[Any] = []
        reader = threading.Thread(target=lambda: got.append(waited()))
        reader.start()
        reader.join(0.3)
        assert got == []
        kill(holder)
        reader.join(5)
        assert got == ["first"]
        assert waited() == "second"


@pytest.mark.parametrize("url", [None, SQLITE])
def test_a_study_s_lock_lets_one_process_in_at_a_time(tmp_path: Path, url: str | None) -> None:
    url = None if url is None else url.format(folder=tmp_path)
    counter = tmp_path / "counter"
    counter.write_text("0")

    def work(send: Callable[[Any], None]) -> None:
        lock = study_lock(url, tmp_path, "s")
        for _ in range(20):
            with lock():
                number = int(counter.read_text())
                time.sleep(0.002)
                counter.write_text(str(number + 1))
        send("done")

    with process(work) as (_, first), process(work) as (_, second):
        assert (first(), second()) == ("done", "done")
    assert counter.read_text() == "40"
