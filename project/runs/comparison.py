"""Runs side by side: what differs in their configs, and what they came to."""

import os
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig

from project.callbacks.monitor import monitor_mode
from project.callbacks.verbatim import visible
from project.errors import UserError
from project.runs.records import FINISHED, Record, find_records
from project.runs.settings import CLASS, title
from project.runs.spreadsheet import write_csv
from project.runs.tables import fitted

LAST = ("samples", "epochs", "seconds")
WHOLE = ("samples", "epochs")


@dataclass(frozen=True)
class Row:
    """Runs that differ in nothing but their seeds.

    Attributes:
        settings: what they share; of classes, the names.
    """

    label: str
    runs: Sequence[Record]
    settings: dict[str, Any]

    def seeds(self) -> list[Any]:
        return [run.seed for run in self.runs]

    def values(self, metric: str) -> list[float]:
        return [run.metrics[metric] for run in self.runs if metric in run.metrics]

    def mean(self, metric: str) -> float | None:
        values = self.values(metric)
        return statistics.fmean(values) if values else None

    def spread(self, metric: str) -> float | None:
        """The standard deviation over seeds, of a sample (n - 1); None: of one run there is none."""
        values = self.values(metric)
        return statistics.stdev(values) if len(values) > 1 else None


@dataclass(frozen=True)
class Column:
    """One of the table's columns.

    Attributes:
        cell: a row's text in the terminal.
        value: a row's value, to be sorted by; None comes last.
        exact: what stands in the CSV file, by the names of its columns.
        falling: the largest comes first.
    """

    name: str
    cell: Callable[[Row], str]
    value: Callable[[Row], Any]
    exact: Callable[[Row], dict[str, Any]]
    falling: bool = False


def run_comparison(cfg: DictConfig, width: int | None = None) -> list[Row]:
    """Print the table that `cfg` (a composed `conf/compare.yaml`) asks for, and write `cfg.output`.

    Args:
        width: of the terminal; None: there is no limit, and the table is as wide as it must be.

    Raises:
        UserError: a folder that does not exist or holds no run, or nothing to sort by.
    """
    names = [str(name) for name in (cfg.runs if isinstance(cfg.runs, ListConfig) else [cfg.runs])]
    if not names or not all(names):
        raise UserError("runs must name runs or folders of runs, e.g. runs=outputs/train")
    records = find_records(names, str(cfg.outputs), lambda text: print(visible(text), file=sys.stderr))
    if not records:
        raise UserError("none of these folders holds a run that can be read")
    rows = rows_of(records, group=bool(cfg.group_seeds))
    columns = columns_of(rows)
    if cfg.sort is not None:
        rows = ordered(rows, columns, str(cfg.sort))
    print(f"{_counted(len(records), 'run')} below {_parent(records)}" + _missing(rows))
    print(fitted([{column.name: column.cell(row) for column in columns} for row in rows], width))
    if cfg.output is not None:
        write_csv(Path(str(cfg.output)), [{k: v for c in columns for k, v in c.exact(row).items()} for row in rows])
        print(f"table: {visible(str(cfg.output))}")
    return rows


def rows_of(records: Sequence[Record], group: bool = True) -> list[Row]:
    """Runs with the same settings together; the unfinished stay alone.

    A seed of a part, such as `data.seed`, belongs to the run's seed where it is the same in each of such runs.

    Args:
        group: false: a row for every run.
    """
    parent = _parent(records)
    alike: dict[Any, list[Record]] = {}
    for number, record in enumerate(records):
        others = {key: value for key, value in record.settings.items() if not _is_seed(key)}
        alone = None if group and record.state == FINISHED else number
        alike.setdefault((alone, _identity(others)), []).append(record)
    rows: list[tuple[list[Record], dict[str, Any]]] = []
    for runs in alike.values():
        tied = {
            key
            for key in {key for run in runs for key in run.settings if _is_seed(key)}
            if all(run.settings.get(key, run.seed) == run.seed for run in runs)
        }
        parts: dict[Any, list[Record]] = {}
        for run in runs:
            parts.setdefault(_identity({k: v for k, v in run.settings.items() if k not in tied}), []).append(run)
        rows += [(part, {k: v for k, v in part[0].settings.items() if k not in tied}) for part in parts.values()]
    short = _class_names([own for _, own in rows])
    return [
        Row(_label(runs, parent), runs, {key: short.get((key, value), value) for key, value in own.items()})
        for runs, own in rows
    ]


def columns_of(rows: Sequence[Row]) -> list[Column]:
    """Which runs, what they came to, in which settings they differ, and the rest of their figures."""
    columns = [Column("run", lambda row: row.label, lambda row: row.label, lambda row: {"run": row.label})]
    several = any(len(row.runs) > 1 for row in rows)
    if several:
        columns.append(_plain_column("n", lambda row: len(row.runs)))
    if len({seed for row in rows for seed in row.seeds()}) > 1:
        columns.append(_plain_column("seed", lambda row: _seed(row.seeds())))
    if any(row.runs[0].state != FINISHED for row in rows):
        columns.append(_plain_column("state", lambda row: row.runs[0].state))
    metrics = {name for row in rows for run in row.runs for name in run.metrics}
    tested = sorted(name for name in metrics if name.startswith("test/"))
    validated = sorted(name for name in metrics if name.startswith("val/"))
    first = [*(["best"] if "best" in metrics else []), *tested]
    last = [*validated, *(name for name in LAST if name in metrics)]
    modes = {_mode(run) for row in rows for run in row.runs}
    differing = [_setting_column(key, [row.settings for row in rows]) for key in differences(rows)]
    return [
        *columns,
        *(_metric_column(name, several, modes) for name in first),
        *differing,
        *(_metric_column(name, several, modes) for name in last),
    ]


def differences(rows: Sequence[Row]) -> list[str]:
    """The settings that are not the same in all rows, in the order of the configs."""
    keys = dict.fromkeys(key for row in rows for key in row.settings)
    missing = object()
    return [key for key in keys if len({_identity({key: row.settings.get(key, missing)}) for row in rows}) > 1]


def ordered(rows: Sequence[Row], columns: Sequence[Column], key: str) -> list[Row]:
    """By a column: measures with the best first, all else from small to large; rows without a value come last.

    Raises:
        UserError: there is no such column.
    """
    found = [column for column in columns if column.name == key]
    found = found or [column for column in columns if column.name.rsplit(".", 1)[-1] == key]
    if len(found) != 1:
        names = [column.name for column in columns]
        near = get_close_matches(key, names, n=3, cutoff=0.6)
        meant = f" Did you mean {' or '.join(near)}?" if near else ""
        raise UserError(f"sort={key}: there is no such column.{meant} Columns: {', '.join(names)}")
    column = found[0]
    known = [row for row in rows if column.value(row) is not None]
    numbers = all(isinstance(column.value(row), int | float) for row in known)
    known.sort(key=lambda row: column.value(row) if numbers else str(column.value(row)), reverse=column.falling)
    return known + [row for row in rows if column.value(row) is None]


def _plain_column(name: str, value: Callable[[Row], Any]) -> Column:
    return Column(name, lambda row: str(value(row)), value, lambda row: {name: value(row)})


def _setting_column(key: str, all_settings: Sequence[dict[str, Any]]) -> Column:
    names = Counter(title(other) for other in {key for own in all_settings for key in own})
    name = title(key) if names[title(key)] == 1 else key

    def text(row: Row) -> Any:
        value = row.settings.get(key, "")
        return "null" if value is None else str(value).lower() if isinstance(value, bool) else value

    return Column(name, lambda row: str(text(row)), lambda row: row.settings.get(key), lambda row: {name: text(row)})


def _metric_column(name: str, several: bool, modes: set[str]) -> Column:
    def cell(row: Row) -> str:
        mean, spread = row.mean(name), row.spread(name)
        if mean is None:
            return ""
        if name in WHOLE and not spread:
            return f"{mean:.0f}"
        digits = 1 if name in LAST else 4
        return _number(mean, digits) + ("" if spread is None else f" ± {_number(spread, digits)}")

    def exact(row: Row) -> dict[str, Any]:
        return {name: row.mean(name), **({f"{name} std": row.spread(name)} if several else {})}

    falling = modes == {"max"} if name == "best" else name not in LAST and monitor_mode(name, None) == "max"
    return Column(name, cell, lambda row: row.mean(name), exact, falling)


def _number(value: float, digits: int) -> str:
    small = value != 0 and abs(value) < 10**-digits
    return f"{value:.1e}" if small and digits > 1 else f"{value:.{digits}f}"


def _mode(run: Record) -> str:
    return monitor_mode(str(run.settings.get("monitor")), run.settings.get("mode"))


def _class_names(all_settings: Sequence[dict[str, Any]]) -> dict[tuple[str, Any], str]:
    """Names of classes without their modules, where that leaves no two of a key alike."""
    full: dict[str, set[str]] = {}
    for own in all_settings:
        for key, value in own.items():
            if key.rsplit(".", 1)[-1] == CLASS:
                full.setdefault(key, set()).add(str(value))
    return {
        (key, name): name.rsplit(".", 1)[-1]
        for key, names in full.items()
        if len({name.rsplit(".", 1)[-1] for name in names}) == len(names)
        for name in names
    }


def _identity(own: dict[str, Any]) -> frozenset[tuple[str, bool, Any]]:
    """Equal where the settings are; true is not 1."""
    return frozenset((key, isinstance(value, bool), value) for key, value in own.items())


def _is_seed(key: str) -> bool:
    return key.rsplit(".", 1)[-1] == "seed"


def _seed(seeds: Sequence[Any]) -> Any:
    return seeds[0] if len(seeds) == 1 else " ".join(str(seed) for seed in sorted(seeds, key=str))


def _label(runs: Sequence[Record], parent: Path) -> str:
    more = f" +{len(runs) - 1}" if len(runs) > 1 else ""
    return f"{runs[0].folder.relative_to(parent)}{more}"


def _parent(records: Sequence[Record]) -> Path:
    """The lowest folder that holds them all."""
    return Path(os.path.commonpath([record.folder.parent for record in records]))


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _missing(rows: Sequence[Row]) -> str:
    if len(rows) == 1:
        one = len(rows[0].runs) == 1
        return ": nothing to compare it with" if one else ", which differ in their seeds alone"
    return "" if differences(rows) else ", whose configs do not differ"
