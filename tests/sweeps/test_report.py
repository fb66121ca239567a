"""The report of a sweep: what stands on the page, what it is made of, and that a browser draws it without a network."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from plotly.offline import get_plotlyjs

from project.errors import UserError
from project.report import main
from project.sweeps.claims import ATTEMPTS
from project.sweeps.figures import LINES, sections
from project.sweeps.frozen import frozen, quiet
from project.sweeps.report import find_study, objectives_of, write_report
from project.sweeps.sections import Section, section
from project.sweeps.storage import open_storage
from tests.conftest import CONF

Run = Callable[..., subprocess.CompletedProcess[str]]

COMPLETE, PRUNED, FAIL, RUNNING = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING
BEGAN = datetime(2026, 11, 22, 9)
LR = FloatDistribution(1e-4, 1.0, log=True)
DEPTH = IntDistribution(1, 8)
NAUGHTY = "</script><script>document.title='owned'</script>"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--virtual-time-budget=60000", "--dump-dom"),
]


def trial(
    state: TrialState,
    values: Sequence[float] | None,
    params: Mapping[str, tuple[Any, BaseDistribution]],
    reported: Sequence[float] = (),
    attempts: Sequence[float] = (60.0,),
    **attrs: Any,
) -> FrozenTrial:
    """A trial that began at `BEGAN`; `attempts` are the seconds of each, an hour apart."""
    times = [(BEGAN + timedelta(hours=index), seconds) for index, seconds in enumerate(attempts)]
    told = [
        {"began": begin.isoformat(), "until": (begin + timedelta(seconds=seconds)).isoformat(), "ended": "?"}
        for begin, seconds in times
    ]
    end = times[-1][0] + timedelta(seconds=times[-1][1]) if times else BEGAN
    return FrozenTrial(
        number=0,  # the study gives it one
        state=state,
        value=None,
        values=None if values is None else list(values),
        datetime_start=BEGAN,
        datetime_complete=end if state.is_finished() else None,
        params={name: value for name, (value, _) in params.items()},
        distributions={name: drawn for name, (_, drawn) in params.items()},
        user_attrs=attrs,
        system_attrs={ATTEMPTS: told} if told else {},
        intermediate_values=dict(enumerate(reported, start=1)),
        trial_id=0,
    )


def made(
    folder: Path,
    trials: Sequence[FrozenTrial],
    directions: Sequence[str] = ("maximize",),
    name: str = "lenet",
    objectives: Sequence[str] | None = None,
    url: str | None = None,
) -> optuna.Study:
    """A study of those trials, in the folder's journal or in a database."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = open_storage(url, folder, 15)
    kinds = [StudyDirection[direction.upper()] for direction in directions]
    study = optuna.create_study(study_name=name, storage=storage, directions=kinds)
    if objectives is not None:
        study.set_user_attr("sweep", {"sweep.objectives": str(list(objectives)), "optimizer.lr": "search"})
    study.add_trials(trials)
    return study


def several() -> list[FrozenTrial]:
    """Trials in every state that a sweep leaves."""
    return [
        trial(COMPLETE, [0.5], {"lr": (0.1, LR), "depth": (2, DEPTH)}, [0.3, 0.4, 0.5], validations=3),
        trial(PRUNED, [0.1], {"lr": (1.0, LR), "depth": (8, DEPTH)}, [0.1], [10.0, 20.0], validations=3),
        trial(FAIL, None, {"lr": (0.5, LR), "depth": (3, DEPTH)}, (), error="ValueError: <i>lr</i>", validations=3),
        trial(PRUNED, None, {"lr": (0.2, LR), "depth": (7, DEPTH)}, (), rejected="9 parameters, more than 8"),
        trial(COMPLETE, [0.75], {"lr": (0.01, LR), "depth": (5, DEPTH)}, [0.5, 0.7, 0.75], [3700.0], validations=3),
        trial(RUNNING, None, {"lr": (0.02, LR), "depth": (4, DEPTH)}, [0.6], validations=3),
        trial(COMPLETE, [0.25], {"lr": (0.0001, LR), "depth": (1, DEPTH)}, [0.1, 0.2, 0.25], validations=3),
        trial(COMPLETE, [0.6], {"lr": (0.05, LR), "depth": (6, DEPTH)}, [0.4, 0.5, 0.6], validations=3),
    ]


class Page(HTMLParser):
    """What a browser reads in a page, without running anything."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.links: list[str] = []
        self.scripts: list[tuple[str, str]] = []
        self.rows: list[list[str]] = []
        self.marked: list[str] = []
        self.heads: list[str] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [str(value) for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if tag == "script":
            self.scripts.append((str(given.get("type") or ""), ""))
        elif tag == "tr":
            self.rows.append([])
            if given.get("class") == "best":
                self.marked.append(str(len(self.rows) - 2))  # the first row is the head's
        elif tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
        elif tag == "h2":
            self.heads.append("")
        if tag not in ("meta", "br", "wbr", "img"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        inside = self._open[-1] if self._open else ""
        if inside == "script":
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)
        elif inside != "style":
            self.words.append(data)
            if {"td", "th"} & set(self._open):
                self.rows[-1][-1] += data
            elif inside == "h2":
                self.heads[-1] += data

    @property
    def figures(self) -> list[dict[str, Any]]:
        return [json.loads(text) for kind, text in self.scripts if kind == "application/json"]

    @property
    def said(self) -> str:
        return " ".join(" ".join(self.words).split())


def report(study: optuna.Study, folder: Path, **more: Any) -> Page:
    directions = [direction.name.lower() for direction in study.directions]
    return Page(write_report(study, folder, objectives_of(study), directions, **more))


def drawn(trials: Sequence[FrozenTrial], directions: Sequence[str] = ("maximize",)) -> dict[str, Section]:
    """The sections by their headings."""
    names = ["accuracy", "cost", "time"][: len(directions)]
    found = sections(frozen(trials, directions), names)
    assert not [section.text for section in found if "could not be drawn" in section.text]
    return {section.title + (f": {section.of}" if section.of else ""): section for section in found}


def traces(section: Section) -> list[Any]:
    return [trace for drawing in section.drawings for trace in drawing.figure.data]


def test_the_head_of_the_page_tells_counts_the_best_and_what_pruning_saved(tmp_path: Path) -> None:
    study = made(tmp_path, several(), objectives=["val/accuracy"])
    (tmp_path / "best.yaml").touch()
    page = report(study, tmp_path)
    assert "8 trials 4 complete 1 pruned 1 rejected 1 failed 1 running" in page.said
    assert "Best trial val/accuracy 0.75 trial 4 lr 0.01 depth 5 Train" in page.said
    assert f"python -m project.train experiment={tmp_path / 'best.yaml'} " in page.said
    assert "2 of 18 epochs were not run (11%)" in page.said
    assert "1 trial is not finished." in page.said
    assert "begun 2026-11-22 09:00, not finished by" in page.said


def test_the_command_is_there_only_with_its_file(tmp_path: Path) -> None:
    folder = tmp_path / "my sweep"
    study = made(folder, several())
    assert f"{folder / 'best.yaml'} is missing" in report(study, folder).said
    (folder / "best.yaml").touch()
    assert f"experiment='{folder / 'best.yaml'}'" in report(study, folder).said


def test_the_table_holds_every_trial(tmp_path: Path) -> None:
    page = report(made(tmp_path, several(), objectives=["val/accuracy"]), tmp_path)
    assert page.rows[0] == [
        *("trial", "state", "val/accuracy", "lr", "depth", "duration", "attempts", "what went wrong")
    ]
    assert page.rows[1:] == [
        ["0", "complete", "0.5", "0.1", "2", "0:01:00", "1", ""],
        ["1", "pruned", "0.1", "1", "8", "30.0 s", "2", ""],
        ["2", "failed", "", "0.5", "3", "0:01:00", "1", "ValueError: <i>lr</i>"],
        ["3", "rejected", "", "0.2", "7", "0:01:00", "1", "9 parameters, more than 8"],
        ["4", "complete", "0.75", "0.01", "5", "1:01:40", "1", ""],
        ["5", "running", "0.6", "0.02", "4", "0:01:00", "1", ""],
        ["6", "complete", "0.25", "0.0001", "1", "0:01:00", "1", ""],
        ["7", "complete", "0.6", "0.05", "6", "0:01:00", "1", ""],
    ]
    assert page.marked == ["4"]


def test_everything_is_in_the_page_and_nothing_is_loaded(tmp_path: Path) -> None:
    page = report(made(tmp_path, several()), tmp_path)
    assert page.text.count(get_plotlyjs()) == 1
    assert page.links
    assert all(link.startswith("#s") or link == "#trials" for link in page.links)
    assert "default-src 'none'; form-action 'none'" in page.text
    assert not list(tmp_path.glob("*.partial"))


def test_texts_of_the_data_are_texts_on_the_page(tmp_path: Path) -> None:
    kinds = CategoricalDistribution([NAUGHTY, "<!--<script>", "plain"])
    name = f"key{NAUGHTY}"
    trials = [
        trial(COMPLETE, [0.1 * index], {name: (kinds.choices[index % 3], kinds), "lr": (0.1 + 0.1 * index, LR)}, [0.1])
        for index in range(6)
    ]
    trials.append(trial(FAIL, None, {}, error=f"Error: {NAUGHTY}"))
    page = report(made(tmp_path, trials, name=f"study{NAUGHTY}", objectives=[f"goal{NAUGHTY}"]), tmp_path)
    assert NAUGHTY not in page.text
    assert "<!--<" not in page.text
    own = [text for kind, text in page.scripts if kind == ""]
    assert own[0] == get_plotlyjs()
    assert len(own) == 2
    assert not any("<" in text for kind, text in page.scripts if kind == "application/json")
    slices = json.dumps(page.figures[4])
    assert "&lt;/script&gt;" in slices  # Plotly reads HTML, too
    assert "</script>" not in slices
    assert page.rows[1][3] == NAUGHTY
    assert page.rows[0][2:4] == [f"goal{NAUGHTY}", f"key{NAUGHTY}"]
    assert page.rows[7][-1] == f"Error: {NAUGHTY}"


def test_a_password_that_an_error_quotes_is_not_on_the_page(tmp_path: Path) -> None:
    failed = trial(FAIL, None, {}, error="OperationalError: postgresql://me:s3cr%40t@db/x refused s3cr@t")
    page = report(made(tmp_path, [failed]), tmp_path, url="postgresql://me:s3cr%40t@db/x")
    assert page.rows[1][-1] == "OperationalError: postgresql://me:***@db/x refused ***"
    assert "s3cr" not in page.text.replace(get_plotlyjs(), "")


NONE = "No trial is complete yet."


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        (
            [],
            {
                "History": NONE,
                "Intermediate values": "No trial has reported a validation yet.",
                "Importance of the parameters": NONE,
                "Parallel coordinates": NONE,
                "Slices": NONE,
                "Contours": NONE,
                "Timeline": "No trial has begun yet.",
            },
        ),
        (
            [trial(RUNNING, None, {"lr": (0.1, LR)}, [0.5]), trial(PRUNED, [0.5], {"lr": (0.2, LR)}, [0.5])],
            {
                "History": NONE,
                "Intermediate values": 1,
                "Importance of the parameters": NONE,
                "Parallel coordinates": NONE,
                "Slices": NONE,
                "Contours": NONE,
                "Timeline": 1,
            },
        ),
        (
            [trial(COMPLETE, [0.5], {"lr": (0.1, LR)})],
            {
                "History": 1,
                "Importance of the parameters": "1 of the 4 complete trials that it takes to tell importances.",
                "Slices": "No parameter has had two values in complete trials yet.",
                "Contours": "1 of the 3 complete trials that it takes to draw a surface through them.",
            },
        ),
        (
            [trial(COMPLETE, [0.1 * n], {"lr": (0.1 + 0.1 * n, LR), "depth": (3, DEPTH)}) for n in range(5)],
            {
                "Importance of the parameters": (
                    "Fewer than two parameters varied, so there is nothing to weigh against each other."
                ),
                "Parallel coordinates": 1,
                "Slices": 1,
                "Contours": "Fewer than two parameters varied: see the slices.",
            },
        ),
        (
            [trial(COMPLETE, [0.5], {"lr": (0.1 + 0.1 * n, LR), "depth": (1 + n, DEPTH)}) for n in range(5)],
            {
                "Importance of the parameters": (
                    "All complete trials have the same value, so no parameter has made a difference."
                ),
                "Parallel coordinates": 1,
                "Contours": 1,
            },
        ),
        (
            [trial(COMPLETE, [0.1 * n], {"ab"[n % 2]: (0.1 + 0.1 * n, LR)}) for n in range(6)],
            {
                "Importance of the parameters": 1,
                "Parallel coordinates": 1,
                "Slices": 1,
                "Contours": "No two parameters were ever drawn for the same trial: see the slices.",
            },
        ),
    ],
    ids=["no trial", "none complete", "one trial", "one varies", "equal values", "never together"],
)
def test_a_figure_that_cannot_be_made_yet_says_why(trials: list[FrozenTrial], expected: dict[str, str | int]) -> None:
    found = drawn(trials)
    assert list(found) == [
        *("History", "Intermediate values", "Importance of the parameters", "Parallel coordinates", "Slices"),
        *("Contours", "Timeline"),
    ]
    for title, what in expected.items():
        section = found[title]
        assert (section.text if isinstance(what, str) else len(section.drawings)) == what
        assert bool(section.drawings) == isinstance(what, int)


def test_what_optuna_stumbles_over_costs_one_figure_only() -> None:
    def stumble() -> Any:
        raise ZeroDivisionError("by <zero>")

    made = section("Slices", stumble)
    assert made == Section("Slices", "", "This figure could not be drawn (ZeroDivisionError: by <zero>).")


def test_the_figures_show_the_trials() -> None:
    found = drawn(several())
    history, best = traces(found["History"])[:2]
    assert list(zip(history.x, history.y, strict=True)) == [(0, 0.5), (4, 0.75), (6, 0.25), (7, 0.6)]
    assert best.y[-1] == 0.75
    lines = traces(found["Intermediate values"])
    assert [(line.name, *line.y) for line in lines] == [
        ("Trial 0 (complete)", 0.3, 0.4, 0.5),
        ("Trial 1 (pruned)", 0.1),
        ("Trial 4 (complete)", 0.5, 0.7, 0.75),
        ("Trial 5 (running)", 0.6),
        ("Trial 6 (complete)", 0.1, 0.2, 0.25),
        ("Trial 7 (complete)", 0.4, 0.5, 0.6),
    ]
    assert [line.name for line in lines if line.line.width == 3] == ["Trial 4 (complete)"]
    slices = found["Slices"].drawings[0].figure
    assert (slices.layout.xaxis.title.text, slices.layout.xaxis.type) == ("depth", None)
    assert (slices.layout.xaxis2.title.text, slices.layout.xaxis2.type) == ("lr", "log")
    assert [trace.name for trace in traces(found["Timeline"])] == ["complete", "failed", "pruned", "running"]


def test_parameters_that_depend_on_others_are_in_every_figure() -> None:
    kinds = CategoricalDistribution(["sgd", "adam", None, True])
    trials = []
    for number in range(8):
        kind = kinds.choices[number % 4]
        params: dict[str, tuple[Any, BaseDistribution]] = {"kind": (kind, kinds), "lr": (0.01 * (number + 1), LR)}
        if kind == "sgd":
            params["momentum"] = (0.1 * (number + 1), FloatDistribution(0, 1))
        trials.append(trial(COMPLETE, [0.1 * number], params))
    found = drawn(trials)
    assert sorted(traces(found["Importance of the parameters"])[0].y) == ["kind", "lr", "momentum"]
    assert found["Parallel coordinates"].drawings[0].figure.layout.xaxis.ticktext == (
        *("accuracy", "kind", "lr", "momentum"),
    )
    assert [len(trace.x) for trace in traces(found["Slices"])] == [8, 8, 2]
    assert len([trace for trace in traces(found["Contours"]) if trace.type == "contour"]) == 6


def test_several_objectives_each_have_their_figures_and_importances_know_what_is_better(tmp_path: Path) -> None:
    trials = [
        trial(COMPLETE, [n, (n * 7) % 11], {"a": (0.05 * n + 0.01, LR), "b": (1 + (n * 3) % 8, DEPTH)})
        for n in range(16)
    ]
    found = drawn(trials, ["maximize", "minimize"])
    each = ["History", "Importance of the parameters", "Parallel coordinates", "Slices", "Contours"]
    assert set(found) == {
        *("Pareto front", "Intermediate values", "Timeline"),
        *(f"{title}: {name}" for title in each for name in ("accuracy", "cost")),
    }
    assert found["Intermediate values"].text.startswith("With several objectives Optuna keeps no values")
    study = made(tmp_path, trials, ["maximize", "minimize"], objectives=["accuracy", "cost"])
    losses: list[tuple[str, Callable[[FrozenTrial], float]]] = [
        ("accuracy", lambda trial: -trial.values[0]),
        ("cost", lambda trial: trial.values[1]),
    ]
    for name, loss in losses:
        with quiet():
            weights = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(), target=loss)
        (bars,) = traces(found[f"Importance of the parameters: {name}"])
        assert dict(zip(bars.y, bars.x, strict=True)) == weights
    page = report(study, tmp_path)
    front = [str(best.number) for best in study.best_trials]
    assert page.marked == front
    assert f"Best trial by accuracy, of {len(front)} on the Pareto front" in page.heads
    assert "accuracy 15 cost 6 trial 15" in page.said
    assert page.rows[0][2:4] == ["accuracy", "cost"]


def test_three_objectives_are_shown_in_pairs() -> None:
    trials = [trial(COMPLETE, [n, 3 - n, n % 2], {"lr": (0.1 + 0.1 * n, LR)}) for n in range(4)]
    fronts = [drawing.figure.layout for drawing in drawn(trials, ["minimize"] * 3)["Pareto front"].drawings]
    assert [(layout.xaxis.title.text, layout.yaxis.title.text) for layout in fronts] == [
        ("accuracy", "cost"),
        ("accuracy", "time"),
        ("cost", "time"),
    ]


def test_a_long_study_draws_the_best_lines_only() -> None:
    trials = [trial(COMPLETE, [n], {"lr": (0.001 * (n + 1), LR)}, [n], validations=1) for n in range(LINES + 50)]
    found = drawn(trials)
    names = [line.name for line in traces(found["Intermediate values"])]
    assert names == [f"Trial {n} (complete)" for n in range(50, LINES + 50)]
    for title in ("Intermediate values", "Parallel coordinates"):
        assert found[title].text.endswith(f"Drawn are the best {LINES} of {LINES + 50}.")


def many(count: int) -> list[FrozenTrial]:
    names = [f"model.net.width_{index}" for index in range(8)]
    return [
        trial(
            COMPLETE if number % 3 else PRUNED,
            [(number * 37) % count / count],
            {name: (1 + (number * (index + 3)) % 7, DEPTH) for index, name in enumerate(names)}
            | {"lr": (0.001 + (number * 61) % count / (2 * count), LR)},
            [number / count + step for step in range(20)],
            validations=20,
        )
        for number in range(count)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("count", "seconds", "megabytes"), [(100, 3, 6), (1000, 15, 9)])
def test_long_studies_are_written_quickly(tmp_path: Path, count: int, seconds: float, megabytes: float) -> None:
    study = made(tmp_path, many(count))
    begin = time.process_time()
    page = report(study, tmp_path)
    assert time.process_time() - begin < seconds
    assert len(page.rows) == count + 1
    assert len(page.text) < megabytes * 1e6


def test_the_page_follows_a_sweep_that_runs(tmp_path: Path) -> None:
    study = made(tmp_path, several()[:1])
    assert report(study, tmp_path).marked == ["0"]
    running = study.ask({"lr": LR, "depth": DEPTH})
    running.report(0.9, 1)
    page = report(study, tmp_path)
    assert (page.marked, page.rows[2][:3]) == (["0"], ["1", "running", "0.9"])
    study.tell(running, 0.9)
    assert report(study, tmp_path).marked == ["1"]


def test_objectives_are_called_as_in_the_sweep(tmp_path: Path) -> None:
    assert objectives_of(made(tmp_path / "a", [], objectives=["val/loss"])) == ["val/loss"]
    assert objectives_of(made(tmp_path / "b", [])) == ["value"]
    assert objectives_of(made(tmp_path / "c", [], ["minimize", "maximize"])) == ["value 0", "value 1"]
    odd = made(tmp_path / "d", [])
    odd.set_user_attr("sweep", "of somebody else")
    assert objectives_of(odd) == ["value"]


def test_a_folder_that_was_renamed_keeps_its_study(tmp_path: Path) -> None:
    made(tmp_path / "old", several(), name="resnet")
    (tmp_path / "old").rename(tmp_path / "new")
    assert find_study(tmp_path / "new", None, None).study_name == "resnet"


def test_of_several_studies_one_is_to_be_named(tmp_path: Path) -> None:
    made(tmp_path, several(), name="one")
    made(tmp_path, several()[:1], name="two")
    with pytest.raises(UserError, match="holds several studies: name one with study=<name>; there are one, two"):
        find_study(tmp_path, None, None)
    assert len(find_study(tmp_path, None, "two").trials) == 1
    with pytest.raises(UserError, match="holds no study three: name one with study=<name>; there are one, two"):
        find_study(tmp_path, None, "three")


def test_a_database_s_study_is_called_like_the_folder_unless_it_is_named(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    folder = tmp_path / "resnet"
    folder.mkdir()
    made(folder, several(), name="vgg", url=url)
    with pytest.raises(UserError, match=r"studies.db holds no study resnet: .* there are vgg$"):
        find_study(folder, url, None)
    made(folder, several()[:2], name="resnet", url=url)
    assert len(find_study(folder, url, None).trials) == 2
    assert len(find_study(folder, url, "vgg").trials) == 8


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "sweep must be given: sweep=<value>"),
        (["sweep=nowhere"], "sweep=nowhere does not exist: name a sweep's folder, e.g. outputs/sweeps/resnet"),
        (
            ["sweep=empty"],
            "has no file named study, so it is no sweep's folder, or the sweep keeps its study in a data",
        ),
        (["sweep=begun"], "/begun/study holds no study: the sweep has not begun"),
        (["sweep=begun", "sweep.storage=sqlite:///no.db"], "there is no file "),
        (["sweep=begun", "sweep.storage=nonsense"], "cannot use sweep.storage=nonsense"),
        (["sweep=begun", "sweep.storage=postgresql+psycopg://me:s3cret@127.0.0.1:1/x"], "//me:***@127.0.0.1:1/x: "),
        (["sweep=begun", "outputs=x"], "outputs: there is no such option"),
    ],
)
def test_mistakes_are_answered_in_a_line(
    tmp_path: Path,
    words: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "study").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["report", *words])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert ended.value.code == 1
    assert said.err.startswith("error: ")
    assert message in said.err
    assert "s3cret" not in said.err + said.out
    assert not (tmp_path / "no.db").exists()
    assert not list((tmp_path / "empty").iterdir())


@pytest.mark.slow
def test_the_command_writes_the_page_without_torch(tmp_path: Path) -> None:
    folder = tmp_path / "a (b), c=d"  # signs that Hydra has a meaning for
    made(folder, several(), objectives=["val/accuracy"])
    code = (
        "import sys; from project.report import main; main()\n"
        "heavy = {'torch', 'lightning', 'torchvision'} & set(sys.modules); assert not heavy, heavy"
    )
    words = [f"sweep={folder}", f"output={tmp_path / 'new' / 'page.html'}"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=tmp_path,
        env={"PYTHONPATH": str(CONF.parent)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"report of lenet: {tmp_path / 'new' / 'page.html'}\n"
    assert "val/accuracy 0.75" in Page(tmp_path / "new" / "page.html").said
    assert not (folder / "report.html").exists()


@pytest.mark.slow
def test_the_command_reads_a_database(tmp_path: Path, run_command: Run) -> None:
    folder = tmp_path / "lenet"
    folder.mkdir()
    made(folder, several(), url=f"sqlite:///{tmp_path}/studies.db")
    done = run_command("report", f"sweep={folder}", f"sweep.storage=sqlite:///{tmp_path}/studies.db")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"report of lenet: {folder / 'report.html'}\n"


def browse(page: Path, folder: Path) -> str:
    """The page as it stands in headless Chromium a while after it was opened; no name can be resolved."""
    assert CHROMIUM is not None
    options = [f"--user-data-dir={folder}", "--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:9"]
    command = [CHROMIUM, *FLAGS, *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
@pytest.mark.parametrize("directions", [["maximize"], ["maximize", "minimize", "minimize"]], ids=["one", "three"])
def test_a_browser_draws_every_figure_without_a_network(tmp_path: Path, directions: list[str]) -> None:
    kinds = CategoricalDistribution([NAUGHTY, "sgd", "adam"])
    trials = several()
    for number, each in enumerate(trials):
        each.params["kind"] = kinds.choices[number % 3]
        each.distributions["kind"] = kinds
        if each.values is not None and len(directions) > 1:
            each.values = [each.values[0], number, -number] if each.state is COMPLETE else None
    study = made(tmp_path, trials, directions, name=NAUGHTY)
    page = write_report(study, tmp_path, [f"{NAUGHTY}{place}" for place, _ in enumerate(directions)], directions)
    sort = """<script>
        for (const name of ["duration", "lr", "lr"])
            [...document.querySelectorAll("th button")].find((each) => each.textContent === name).click();
    </script></body>"""
    page.write_text(page.read_text().replace("</body>", sort))
    shown = browse(page, tmp_path / "browser")
    assert "<title>&lt;/script&gt;" in shown
    plots = shown.split('<script type="application/json">')[1:]
    assert len(plots) == len(Page(page).figures) == (7 if len(directions) == 1 else 3 + 5 * 3 + 1)
    for plot in plots:
        assert 'data-drawn=""' in plot
        assert '<svg class="main-svg"' in plot
        assert 'class="failed"' not in plot
    assert shown.count('class="contourlevel"') + shown.count('class="contourbg"') > 0
    buttons = shown.partition("</main>")[0]
    assert 'data-title="Download plot as a PNG"' in buttons
    assert "Share chart" not in buttons  # Plotly's button that sends the data away
    rows = shown.partition("<tbody>")[2].partition("</tbody>")[0].split("<tr")[1:]
    order = [row.partition('data-key="')[2].partition('"')[0] for row in rows]
    assert order == ["1", "2", "3", "0", "7", "5", "4", "6"]  # by falling lr
