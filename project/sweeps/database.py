"""A study on a database server that many hosts share: waited for while it is away, and changed all or nothing.

What decides who trains what happens in one transaction, which holds the study's row of a table of its own: if the
connection is lost in the midst of it, all of it is undone, and no other worker ever sees a half. So it is repeated from
its beginning. Beside `shared_study.py` this file uses Optuna's private names.
"""

import contextlib
import functools
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sql
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState

from project.sweeps.patience import Patience

LOCKS = "project_sweep_locks"
TABLES = "tables"  # the name of the row that guards the tables; a study's name has no space before it
DRIVERS_OF_LIBPQ = ("psycopg", "psycopg2")
# seconds after which a silent connection is given up, at both of its ends: a host that went down says no goodbye
NETWORK = {"connect_timeout": 10, "keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3}
MOST_IN_TRANSACTION = "60s"  # a paused worker, or one whose host is gone, holds the others up no longer


class Database(RDBStorage):
    """Optuna's tables at `url`; every call waits for a server that is away, as long as `patience` says.

    Args:
        url: SQLAlchemy's, of a server.
        heartbeat: seconds between two signs of life of a worker, which it counts as dead after four of.
        patience: of this process.
    """

    def __init__(self, url: str, heartbeat: int, patience: Patience) -> None:
        self.patience = patience
        self._inside = threading.local()
        arguments = engine_arguments(url)
        self.locks = sql.Table(LOCKS, sql.MetaData(), sql.Column("name", sql.String(255), primary_key=True))
        beats = {"heartbeat_interval": heartbeat, "grace_period": 4 * heartbeat}
        engine = sql.create_engine(url, **arguments)
        try:
            # Optuna's last table; who waits for another to make it holds no connection, which the maker may need
            while not sql.inspect(engine).has_table("alembic_version"):
                self._make_lock(engine, TABLES)
                with engine.begin() as connection:
                    if connection.execute(self._row(TABLES, skip_locked=True)).first() is not None:
                        super().__init__(url, arguments, **beats)  # type: ignore[arg-type]
                        return
                time.sleep(0.2)
            super().__init__(url, arguments, skip_table_creation=True, **beats)  # type: ignore[arg-type]
        finally:
            engine.dispose()

    @property
    def inside(self) -> bool:
        """Whether this thread is in a transaction of `changing`."""
        return bool(getattr(self._inside, "now", False))

    @contextmanager
    def changing(self, name: str) -> Iterator[None]:
        """All that this thread reads and writes in the block is one transaction, the only one of the study `name`."""
        with self.engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = '{MOST_IN_TRANSACTION}'")
            if connection.execute(self._row(name)).first() is None:
                self._make_lock(self.engine, name)
                connection.execute(self._row(name))
            self.scoped_session.remove()
            self.scoped_session(bind=connection, join_transaction_mode="create_savepoint")
            self._inside.now = True
            try:
                yield
            finally:
                self._inside.now = False
                self.scoped_session.remove()

    def system_attr(self, trial_id: int, key: str, state: TrialState) -> Any:
        """One system attribute, in one statement, of a trial in that state; None: there is none."""
        trials, attributes = models.TrialModel, models.TrialSystemAttributeModel
        question = (
            sql.select(attributes.value_json)
            .join(trials, trials.trial_id == attributes.trial_id)
            .where(trials.trial_id == trial_id, trials.state == state, attributes.key == key)
        )

        def asked() -> Any:
            with self.engine.connect() as connection:
                return connection.execute(question).scalar()

        found = self.patience.again(asked)
        return None if found is None else json.loads(found)

    def unfinished(self, study_id: int, keys: Sequence[str]) -> tuple[int, list[FrozenTrial]]:
        """How many trials there are, and those that run or wait, in their order, with these system attributes only.

        In three statements of few columns: beside a thousand running trials Optuna's own reading takes a second.
        """
        trials, attributes = models.TrialModel, models.TrialSystemAttributeModel
        states = (TrialState.RUNNING, TrialState.WAITING)
        count = sql.select(sql.func.count()).select_from(trials).where(trials.study_id == study_id)
        which = sql.select(trials.trial_id, trials.number, trials.state).where(
            trials.study_id == study_id, trials.state.in_(states)
        )
        what = (
            sql.select(attributes.trial_id, attributes.key, attributes.value_json)
            .join(trials, trials.trial_id == attributes.trial_id)
            .where(trials.study_id == study_id, trials.state.in_(states), attributes.key.in_(keys))
        )
        with self._read() as session:
            number = int(session.execute(count).scalar_one())
            known: dict[int, dict[str, Any]] = {}
            for trial_id, key, text in session.execute(what):
                known.setdefault(trial_id, {})[key] = json.loads(text)
            rows = session.execute(which.order_by(trials.number)).all()
        return number, [_bare(row[0], row[1], row[2], known.get(row[0], {})) for row in rows]

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        """Of trials without a sign of life; none as long as the database itself may be why there was none."""
        trials, beats = models.TrialModel, models.TrialHeartbeatModel
        last = (
            sql.select(trials.trial_id, beats.heartbeat)
            .join(beats, beats.trial_id == trials.trial_id)
            .where(trials.study_id == study_id, trials.state == TrialState.RUNNING)
        )
        grace = float(self.grace_period or 0)
        with self._read() as session:
            now = session.execute(sql.func.now()).scalar_one().replace(tzinfo=None)
            silent = [number for number, beat in session.execute(last) if (now - beat).total_seconds() > grace]
        if silent and (self.patience.missed_within(grace) or self._age() < grace):
            return []
        return silent

    @contextmanager
    def _read(self) -> Iterator[Any]:
        """This thread's session, which within `changing` is that of the transaction."""
        session = self.scoped_session()
        try:
            yield session
        finally:
            session.close()

    def _age(self) -> float:
        """Seconds since the server started."""
        if self.engine.dialect.name != "postgresql":
            return float("inf")
        question = sql.text("SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())")
        with self._read() as session:
            return float(session.execute(question).scalar_one())

    def _row(self, name: str, skip_locked: bool = False) -> Any:
        return sql.select(self.locks).where(self.locks.c.name == name).with_for_update(skip_locked=skip_locked)

    def _make_lock(self, engine: sql.Engine, name: str) -> None:
        with contextlib.suppress(sql.exc.IntegrityError, sql.exc.ProgrammingError):  # another worker was faster
            self.locks.create(engine, checkfirst=True)
        with contextlib.suppress(sql.exc.IntegrityError), engine.begin() as connection:
            connection.execute(self.locks.insert().values(name=name))


def _waiting(call: Callable[..., Any]) -> Callable[..., Any]:
    """`call`, tried again (it writes the same twice); but not within a transaction, which is repeated whole."""

    @functools.wraps(call)
    def waiting(self: Database, *arguments: Any, **named: Any) -> Any:
        if self.inside:
            return call(self, *arguments, **named)
        return self.patience.again(lambda: call(self, *arguments, **named))

    return waiting


# all that reads or writes, but for signs of life: they come again by themselves
_PRIVATE = ("_create_new_trial", "_set_trial_param", "_get_trials", "_get_best_trial_id")
for _name in {name for name in vars(BaseStorage) if not name.startswith("_")}.union(_PRIVATE):
    if _name in vars(RDBStorage) and _name != "remove_session":
        setattr(Database, _name, _waiting(vars(RDBStorage)[_name]))
for _name in ("_get_stale_trial_ids", "unfinished"):
    setattr(Database, _name, _waiting(vars(Database)[_name]))


def _bare(trial_id: int, number: int, state: TrialState, known: dict[str, Any]) -> FrozenTrial:
    """A trial without parameters and values."""
    return FrozenTrial(
        number=number,
        state=state,
        value=None,
        datetime_start=None,
        datetime_complete=None,
        params={},
        distributions={},
        user_attrs={},
        system_attrs=known,
        intermediate_values={},
        trial_id=trial_id,
    )


def engine_arguments(url: str) -> dict[str, Any]:
    """How the database is connected to: what the URL says itself comes first.

    A worker keeps one connection, and takes a second while two of its threads write. That it still stands is not asked
    before each use, since what fails is done again. Statements are prepared under no name, which poolers that hand a
    connection on with every transaction would not know.
    """
    arguments: dict[str, Any] = {"pool_size": 1, "max_overflow": 3}
    address = sql.make_url(url)
    driver = address.get_driver_name()
    if address.get_backend_name() == "postgresql" and driver in DRIVERS_OF_LIBPQ:
        connect: dict[str, Any] = {key: value for key, value in NETWORK.items() if key not in address.query}
        if "tcp_user_timeout" not in address.query:
            connect["tcp_user_timeout"] = 30_000  # milliseconds
        if driver == "psycopg" and "prepare_threshold" not in address.query:
            connect["prepare_threshold"] = None
        arguments["connect_args"] = connect
    return arguments
