"""A study on a real PostgreSQL server whose connections are cut at the worst moment, and which is restarted."""

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from project.benchmarks.postgres import Server
from project.errors import UserError
from project.sweeps.claims import Claim, Lost
from project.sweeps.database import LOCKS, Database, engine_arguments
from project.sweeps.outcome import Outcome
from project.sweeps.owners import Owner, living
from project.sweeps.patience import Away, Patience
from project.sweeps.reporting import Reporter
from project.sweeps.settings import Settings
from project.sweeps.shared_study import SharedStudy
from tests.sweeps.cutting import Wire, wire
from tests.sweeps.postgres import PASSWORD, postgres, quoted
from tests.sweeps.processes import process
from tests.sweeps.sweeping import until

HEARTBEAT = 15.0


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres() as made:
        yield made


@pytest.fixture
def cuttable(server: Server) -> Iterator[tuple[Wire, str]]:
    """A wire to the server, and the URL that leads over it."""
    with wire(server.port) as made:
        yield made, server.url.replace(str(server.port), str(made.port))


def opened(
    url: str, name: str, folder: Path, patience: float = 60, told: Callable[[str], None] | None = None
) -> SharedStudy:
    return SharedStudy(name, url, folder, ["minimize"], HEARTBEAT, patience, told)


def far(owner: Owner) -> Owner:
    """The owner as if it were on another host, which has no folder in common with this one."""
    return Owner(owner.token, "elsewhere", 1, "", "/nowhere/at/all.lock")


COMMIT = b"COMMIT"


@pytest.mark.parametrize("heard", [True, False])
def test_a_claim_whose_answer_is_lost_is_one_claim(
    tmp_path: Path, server: Server, cuttable: tuple[Wire, str], heard: bool
) -> None:
    cutter, url = cuttable
    shared, other = opened(url, f"claim {heard}", tmp_path), opened(server.url, f"claim {heard}", tmp_path)
    with living(tmp_path) as owner, living(tmp_path) as another:
        assert shared.claim(owner, 3, 0).number == 0  # type: ignore[union-attr]
        cutter.lose_answer_to, cutter.lose = (COMMIT, None) if heard else (None, COMMIT)
        second = shared.claim(owner, 3, 0)
        assert cutter.cut == 1
        assert second is not None
        assert (second.number, second.attempt) == (1, 1)
        third = other.claim(another, 3, 0)
        assert third is not None
        assert third.number == 2
        assert shared.claim(owner, 3, 0) is None
        found = other.trials()
        assert [trial.number for trial in found] == [0, 1, 2]
        assert [trial.system_attrs["sweep:owner"]["token"] for trial in found] == [owner.token] * 2 + [another.token]
        assert [len(trial.system_attrs["sweep:attempts"]) for trial in found] == [1, 1, 1]


@pytest.mark.parametrize("heard", [True, False])
def test_what_a_trial_came_to_is_told_once(
    tmp_path: Path, server: Server, cuttable: tuple[Wire, str], heard: bool
) -> None:
    cutter, url = cuttable
    name = f"tell {heard}"
    shared, other = opened(url, name, tmp_path), opened(server.url, name, tmp_path)
    with living(tmp_path) as owner:
        claim = shared.claim(owner, 3, 0)
        assert claim is not None
        cutter.lose_answer_to, cutter.lose = (COMMIT, None) if heard else (None, COMMIT)
        Outcome([0.25], {"seconds": 3.0}).tell(shared, claim, tmp_path)
        assert cutter.cut == 1
        (trial,) = other.trials()
        assert (trial.state, trial.value, trial.user_attrs) == (TrialState.COMPLETE, 0.25, {"seconds": 3.0})
        assert [attempt["ended"] for attempt in trial.system_attrs["sweep:attempts"]] == ["complete"]
        with pytest.raises(Lost):  # that it was told before is known by the state
            shared.finish(claim, TrialState.FAIL, None)
        assert other.trials()[0].state is TrialState.COMPLETE


@pytest.mark.parametrize("heard", [True, False])
def test_every_other_write_is_the_same_when_it_is_repeated(
    tmp_path: Path, server: Server, cuttable: tuple[Wire, str], heard: bool
) -> None:
    cutter, url = cuttable
    name = f"writes {heard}"
    shared, other = opened(url, name, tmp_path), opened(server.url, name, tmp_path)
    writes: list[Callable[[Claim], Any]] = [
        lambda claim: shared.trial(claim)._suggest("lr", FloatDistribution(0, 1)),
        lambda claim: shared.note(claim, threads=2),
        lambda claim: Reporter(shared, claim, Settings(name), 0, prunes=True).report(1, 0.5),
        lambda claim: shared.give_back(claim),
    ]
    with living(tmp_path) as owner:
        claim = shared.claim(owner, 1, 0)
        assert claim is not None
        for write in writes:
            cutter.lose_answer_to, cutter.lose = (COMMIT, None) if heard else (None, COMMIT)
            write(claim)
        assert cutter.cut == len(writes)
        (trial,) = other.trials()
        assert list(trial.params) == ["lr"]
        assert (trial.user_attrs, trial.intermediate_values) == ({"threads": 2}, {1: 0.5})
        assert [attempt["ended"] for attempt in trial.system_attrs["sweep:attempts"]] == ["stopped"]
        again = other.claim(owner, 1, 0)
        assert again is not None
        assert (again.number, again.attempt) == (0, 2)


def test_a_claim_that_is_undone_leaves_no_trial_behind(
    tmp_path: Path, server: Server, cuttable: tuple[Wire, str]
) -> None:
    cutter, url = cuttable
    shared = opened(url, "undone", tmp_path, patience=0.5)
    with living(tmp_path) as owner:
        cutter.lose = b"sweep:owner"  # the trial is made by then
        claim = shared.claim(owner, 2, 0)
        assert cutter.cut == 1
        assert claim is not None
        assert claim.number == 0
        assert [trial.number for trial in shared.trials()] == [0]
        cutter.lose = COMMIT
        cutter.close()  # and it stays away
        with pytest.raises(
            Away, match=r"has been away for .* s, sweep\.patience=0\.5 .*The same command goes on"
        ) as away:
            shared.claim(owner, 2, 0)
        assert PASSWORD not in str(away.value)
        assert quoted(PASSWORD) not in str(away.value)
        began = time.monotonic()
        with pytest.raises(Away):  # patience is at its end
            shared.trials()
        assert time.monotonic() - began < 5
    assert [trial.number for trial in opened(server.url, "undone", tmp_path).trials()] == [0]


@pytest.mark.slow
def test_what_is_said_of_a_restart_and_who_is_taken_for_dead_after_it(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    shared = opened(server.url, "restart", tmp_path, told=told.append)
    with living(tmp_path) as owner, living(tmp_path) as another:
        claim = shared.claim(far(owner), 1, 1)
        assert claim is not None
        server.stop("immediate")
        began = time.monotonic()
        with ThreadPoolExecutor(1) as waiting:
            found = waiting.submit(shared.trials)
            time.sleep(2)
            server.start()
            assert [trial.number for trial in found.result(60)] == [0]
            assert time.monotonic() - began > 2
        assert len(told) == 2
        assert told[0].startswith("the database is away: trying again for up to 60 s (connection failed: ")
        assert told[1].startswith("the database is back after ")
        shared.locked(lambda: _silence(shared, claim))  # as after an outage of an hour, in which nobody could beat
        assert not shared.abandoned()
        newcomer = opened(server.url, "restart", tmp_path)  # who has missed nothing
        assert not newcomer.abandoned()
        monkeypatch.setattr(Database, "_age", lambda self: 1e6)
        assert not shared.abandoned()  # it remembers
        assert newcomer.abandoned()
        taken = newcomer.claim(another, 1, 1)
        assert taken is not None
        assert (taken.number, taken.attempt) == (0, 2)
        assert not shared.owns(claim)
        assert newcomer.owns(taken)


def test_a_parameter_is_the_same_for_the_worker_that_takes_over_and_shares_no_folder(
    tmp_path: Path, server: Server
) -> None:
    one, two = (SharedStudy("apart", server.url, tmp_path / name, ["minimize"], 1.0) for name in ("one", "two"))
    with living(tmp_path / "one") as owner, living(tmp_path / "two") as another:
        claim = one.claim(far(owner), 1, 1)
        assert claim is not None
        value = one.trial(claim)._suggest("lr", FloatDistribution(0, 1))
        one.trial(claim).report(0.5, 1)
        assert two.claim(another, 1, 1) is None  # it beats, on another host
        two.locked(lambda: _silence(two, claim))
        until(two.abandoned, 20)  # the server has run for long enough
        taken = two.claim(another, 1, 1)
        assert taken is not None
        assert taken.attempt == 2
        trial = two.trial(taken)
        assert trial._suggest("lr", FloatDistribution(0, 1)) == value
        with pytest.warns(UserWarning, match="already reported"):
            trial.report(0.75, 1)  # from the start, if the checkpoint is not there
        trial.report(0.25, 2)
        two.finish(taken, TrialState.COMPLETE, [0.25])
        with pytest.raises(Lost):
            one.finish(claim, TrialState.COMPLETE, [0.75])
        assert one.trials()[0].value == 0.25


def _silence(shared: SharedStudy, claim: Claim) -> None:
    """Set back the trial's last sign of life by an hour."""
    import sqlalchemy as sql

    session = shared.storage._backend.scoped_session()  # type: ignore[attr-defined]
    session.execute(
        sql.text("UPDATE trial_heartbeats SET heartbeat = heartbeat - interval '1 hour' WHERE trial_id = :trial"),
        {"trial": claim.trial_id},
    )
    session.commit()


@pytest.mark.slow
def test_tables_are_made_once_by_workers_that_start_at_once(tmp_path: Path, server: Server) -> None:
    import sqlalchemy as sql

    engine = sql.create_engine(server.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE empty")
    url = server.url.rpartition("/")[0] + "/empty"

    def work(send: Callable[[Any], None]) -> None:
        shared = opened(url, "first", tmp_path)
        with living(tmp_path) as owner:
            claim = shared.claim(owner, 4, 0)
            assert claim is not None
            send(claim.number)
            time.sleep(30)

    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(process(work)) for _ in range(4)]
        assert sorted(receive() for _, receive in started) == [0, 1, 2, 3]
    with sql.create_engine(url).connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM alembic_version").scalar_one() == 1
        names = connection.exec_driver_sql(f"SELECT name FROM {LOCKS} ORDER BY name").scalars().all()
        assert names == ["first", "tables"]


def test_a_worker_that_stalls_in_a_claim_holds_the_others_up_for_a_while_only(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("project.sweeps.database.MOST_IN_TRANSACTION", "1s")

    def stall(send: Callable[[Any], None]) -> None:
        with opened(server.url, "stalled", tmp_path).lock():
            send("inside")
            time.sleep(60)

    with process(stall) as (_, receive), living(tmp_path) as owner:
        assert receive() == "inside"
        claim = opened(server.url, "stalled", tmp_path).claim(owner, 1, 0)
        assert claim is not None
        assert claim.number == 0


def test_only_what_may_succeed_later_is_tried_again(server: Server, tmp_path: Path) -> None:
    shared = opened(server.url, "mistakes", tmp_path)
    began = time.monotonic()
    with pytest.raises(KeyError):
        shared.storage.get_trial(10**6)
    with pytest.raises(UserError, match=r"cannot use sweep\.storage=.*password authentication failed") as error:
        opened(server.url.replace(quoted(PASSWORD), "wrong"), "mistakes", tmp_path)
    assert "wrong" not in str(error.value)
    assert time.monotonic() - began < 5
    tries = []

    def fail() -> None:
        tries.append(1)
        raise ValueError("a mistake")

    with pytest.raises(ValueError, match="a mistake"):
        Patience(60, "").again(fail)
    assert len(tries) == 1


def test_the_url_s_own_words_on_the_connection_come_first() -> None:
    ours = engine_arguments("postgresql+psycopg://u@h/d")["connect_args"]
    assert (ours["connect_timeout"], ours["keepalives_idle"], ours["prepare_threshold"]) == (10, 15, None)
    given = engine_arguments("postgresql+psycopg://u@h/d?connect_timeout=3&tcp_user_timeout=1000")["connect_args"]
    assert "connect_timeout" not in given
    assert "tcp_user_timeout" not in given
    assert "prepare_threshold" not in engine_arguments("postgresql+psycopg2://u@h/d")["connect_args"]
    assert "connect_args" not in engine_arguments("mysql+pymysql://u@h/d")


def test_reporting_goes_on_when_the_database_stays_away(
    tmp_path: Path, server: Server, cuttable: tuple[Wire, str], capsys: pytest.CaptureFixture[str]
) -> None:
    import signal

    cutter, url = cuttable
    shared = opened(url, "reports", tmp_path, patience=0.3)
    asked: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    try:
        with living(tmp_path) as owner:
            claim = shared.claim(owner, 1, 0)
            assert claim is not None
            cutter.lose = b"SELECT"
            cutter.close()
            assert Reporter(shared, claim, Settings("reports"), 0, prunes=True).report(1, 0.5) is False
    finally:
        signal.signal(signal.SIGTERM, before)
    assert asked == [signal.SIGTERM]  # the training writes its checkpoint, and stops
    assert "has been away" in capsys.readouterr().out
