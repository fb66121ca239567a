"""Every sampler and pruner of `conf/sweep` is Optuna's, takes its arguments, and works in many processes at once."""

import logging
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PatientPruner,
    SuccessiveHalvingPruner,
    WilcoxonPruner,
)
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import TrialState

from project.errors import UserError
from project.sweeps.claims import Claim
from project.sweeps.drawing import Config, grid_points, make_pruner, sampler_for
from project.sweeps.owners import living
from project.sweeps.shared_study import SharedStudy
from project.sweeps.space import Space, parse
from tests.conftest import CONF, choices
from tests.sweeps.processes import process, within_limits

PARAMS = {
    "lr": "tag(log,interval(1e-4,1))",
    "dropout": "interval(0,0.5)",
    "momentum": "range(0,1,0.25)",
    "layers": "range(1,9)",
    "width": "tag(log,range(1,101))",
    "batch": "range(16,129,16)",
    "act": "choice(relu,tanh,gelu)",
    "net": "choice([8],[8,16])",
    "one": "choice(7)",
}
SPACE = parse(PARAMS, [])
NUMBERS = parse({key: text for key, text in PARAMS.items() if "choice" not in text}, [])
SAMPLERS: dict[str, tuple[type[BaseSampler], dict[str, Any]]] = {
    "cmaes": (CmaEsSampler, {}),
    "gp": (GPSampler, {}),
    "nsga2": (NSGAIISampler, {"population_size": 50}),
    "qmc": (QMCSampler, {"qmc_type": "sobol", "scramble": True, "warn_independent_sampling": False}),
    "random": (RandomSampler, {}),
    "tpe": (TPESampler, {"multivariate": True, "constant_liar": True, "n_startup_trials": 10}),
}
MEDIAN = {"n_startup_trials": 5, "n_warmup_steps": 2}
PRUNERS: dict[str, tuple[type[BasePruner], dict[str, Any]]] = {
    "halving": (SuccessiveHalvingPruner, {"min_resource": 1, "reduction_factor": 3, "min_early_stopping_rate": 0}),
    "hyperband": (HyperbandPruner, {"min_resource": 1, "max_resource": "auto", "reduction_factor": 3}),
    "median": (MedianPruner, MEDIAN),
    "none": (NopPruner, {}),
    "patient": (
        PatientPruner,
        {"wrapped_pruner": {"_target_": "optuna.pruners.MedianPruner", **MEDIAN}, "patience": 3, "min_delta": 0.0},
    ),
    "wilcoxon": (WilcoxonPruner, {"p_threshold": 0.1, "n_startup_steps": 2}),
}
STEPS = {  # of 12, of 20 trials of which each is worse than the one before
    "halving": [12, *[1] * 19],
    "median": [*[12] * 5, *[2] * 15],
    "none": [12] * 20,
    "patient": [*[12] * 10, *[5] * 10],  # four times in a row without a better value
    "wilcoxon": [12, *[4] * 19],  # worse three times of three may be chance (p = 1/8), four of four not (1/16)
}
NEEDS = {"cmaes": "cmaes", "gp": "scipy", "qmc": "scipy", "wilcoxon": "scipy"}


def config_of(group: str, name: str) -> dict[str, Any]:
    """The YAML, as the settings of a sweep hold it."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    config = OmegaConf.to_container(OmegaConf.load(CONF / "sweep" / group / f"{name}.yaml"))
    assert isinstance(config, dict)
    return config  # type: ignore[return-value]


def shared_in(folder: Path, directions: tuple[str, ...] = ("minimize",)) -> SharedStudy:
    return SharedStudy("study", None, folder, directions, 15.0)


def draw(shared: SharedStudy, claim: Claim, config: Config, space: Space, seed: int = 0) -> dict[str, Any]:
    """The claimed trial's parameters, as a worker draws them."""
    sampler = sampler_for(config, seed, claim.number, space)
    if sampler is not None:
        shared.study.sampler = sampler
    trial = shared.trial(claim)
    space.suggest(trial)
    return trial.params


def run_trials(folder: Path, config: Config, space: Space, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """The parameters of `count` trials, one after the other, whose value is their learning rate."""
    shared = shared_in(folder)
    drawn = []
    with living(folder) as owner:
        for number in range(count):
            claim = shared.claim(owner, count, 0)
            assert claim is not None
            assert claim.number == number
            drawn.append(draw(shared, claim, config, space, seed))
            shared.finish(claim, TrialState.COMPLETE, [drawn[-1].get("lr", 0.0)])
    return drawn


def distinct(drawn: list[dict[str, Any]]) -> int:
    return len({repr(params) for params in drawn})


def test_every_sampler_and_pruner_is_tried_here() -> None:
    assert {*SAMPLERS, "grid"} == set(choices("sweep/sampler"))
    assert set(PRUNERS) == set(choices("sweep/pruner"))


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_is_optuna_s_with_its_arguments(name: str) -> None:
    kind, arguments = SAMPLERS[name]
    config = config_of("sampler", name)
    assert config == {"_target_": f"optuna.samplers.{kind.__name__}", **arguments}
    sampler = sampler_for(config, 0, 0, SPACE)
    assert isinstance(sampler, kind)
    for key, value in arguments.items():
        assert getattr(sampler, f"_{key}") == value


@pytest.mark.parametrize("name", PRUNERS)
def test_every_pruner_is_optuna_s_with_its_arguments(name: str) -> None:
    kind, arguments = PRUNERS[name]
    config = config_of("pruner", name)
    assert config == {"_target_": f"optuna.pruners.{kind.__name__}", **arguments}
    pruner = make_pruner(config)
    assert type(pruner) is kind
    for key, value in arguments.items():
        if key == "wrapped_pruner":
            assert isinstance(pruner, PatientPruner)
            assert type(pruner._wrapped_pruner) is MedianPruner
        elif hasattr(pruner, f"_{key}"):
            assert getattr(pruner, f"_{key}") == value


def test_without_a_choice_the_sampler_is_tpe_and_nothing_is_pruned() -> None:
    assert type(sampler_for(None, 0, 0)) is TPESampler
    assert type(make_pruner(None)) is NopPruner


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "gp" else name for name in SAMPLERS]
)
def test_every_sampler_draws_parameters_of_every_kind(tmp_path: Path, name: str) -> None:
    drawn = run_trials(tmp_path, config_of("sampler", name), SPACE, 20)
    assert distinct(drawn) == 20
    for params in drawn:
        assert list(params) == list(PARAMS)
        for key, value in params.items():
            distribution = SPACE.distributions[key]
            assert distribution._contains(distribution.to_internal_repr(value))
        assert 1e-4 <= params["lr"] <= 1
        assert params["momentum"] in (0.0, 0.25, 0.5, 0.75)
        assert (type(params["layers"]), type(params["width"]), params["batch"] % 16) == (int, int, 0)
        assert params["one"] == 7
    assert {params["act"] for params in drawn} == {"relu", "tanh", "gelu"}
    assert {params["net"] for params in drawn} == {"[8]", "[8,16]"}
    assert [trial.params for trial in shared_in(tmp_path).trials()] == drawn


def test_cmaes_draws_choices_by_chance_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    assert "for numbers only" in (CONF / "sweep" / "sampler" / "cmaes.yaml").read_text()
    config = config_of("sampler", "cmaes")
    study = optuna.create_study()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optuna.logging.enable_propagation()
    try:
        for number in range(2):
            study.sampler = sampler_for(config, 0, number) or study.sampler
            trial = study.ask()
            SPACE.suggest(trial)
            study.tell(trial, 0.0)
    finally:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        optuna.logging.disable_propagation()
    said = " ".join(record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)
    assert {key for key in PARAMS if f"`{key}`" in said} == {"act", "net"}
    assert "RandomSampler" in said


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_trial_draws_with_a_seed_of_its_own_and_always_the_same(tmp_path: Path, name: str) -> None:
    config = config_of("sampler", name)

    def first(number: int, seed: int = 0) -> str:
        study = optuna.create_study(sampler=sampler_for(config, seed, number, SPACE))
        trial = study.ask()
        SPACE.suggest(trial)
        return repr(trial.params)

    drawn = [first(number) for number in range(10)]
    assert len(set(drawn)) == 10
    assert [first(number) for number in range(10)] == drawn
    assert not {first(number, seed=1) for number in range(10)} & set(drawn)


@pytest.mark.parametrize("name", ["random", "tpe", "nsga2", "qmc"])
def test_a_study_is_the_same_for_the_same_seed(tmp_path: Path, name: str) -> None:
    config = config_of("sampler", name)
    drawn = run_trials(tmp_path / "1", config, SPACE, 15)
    assert run_trials(tmp_path / "2", config, SPACE, 15) == drawn
    assert run_trials(tmp_path / "3", config, SPACE, 15, seed=1) != drawn


def in_each_part(drawn: list[dict[str, Any]], key: str, span: tuple[float, float]) -> list[int]:
    """How many values of `key` lie in each of as many equal parts of its range."""
    low, high = span
    parts = Counter(int((params[key] - low) / (high - low) * len(drawn)) for params in drawn)
    return [parts[part] for part in range(len(drawn))]


def test_quasi_random_points_of_two_workers_cover_the_space_once(tmp_path: Path) -> None:
    config = config_of("sampler", "qmc")
    one, two = shared_in(tmp_path), shared_in(tmp_path)
    drawn = []
    with living(tmp_path) as first, living(tmp_path) as second:
        for _ in range(8):
            claims = [one.claim(first, 16, 0), two.claim(second, 16, 0)]
            assert claims[0] is not None
            assert claims[1] is not None
            drawn += [draw(one, claims[0], config, SPACE), draw(two, claims[1], config, SPACE)]
            one.finish(claims[0], TrialState.COMPLETE, [0.0])
            two.finish(claims[1], TrialState.FAIL, None)
    assert distinct(drawn) == 16
    assert in_each_part(drawn, "dropout", (0, 0.5)) == [1] * 16
    assert sorted(Counter(params["momentum"] for params in drawn).values()) == [4] * 4
    assert sorted(Counter(params["layers"] for params in drawn).values()) == [2] * 8


def test_quasi_random_points_of_workers_that_begin_together_cover_the_space_once(tmp_path: Path) -> None:
    config = config_of("sampler", "qmc")
    shared_in(tmp_path)

    def work(send: Callable[[Any], None]) -> None:
        shared = shared_in(tmp_path)
        with living(tmp_path) as owner:
            for _ in range(4):
                claim = shared.claim(owner, 16, 0)
                assert claim is not None
                send(draw(shared, claim, config, SPACE))  # and is killed before it is told

    with process(work) as (_, one), process(work) as (_, two), process(work) as (_, three), process(work) as (_, four):
        drawn = [receive() for _ in range(4) for receive in (one, two, three, four)]
    assert distinct(drawn) == 16
    assert in_each_part(drawn, "dropout", (0, 0.5)) == [1] * 16


def test_a_grid_is_every_combination_once(tmp_path: Path) -> None:
    config = config_of("sampler", "grid")
    assert config == {"_target_": "optuna.samplers.GridSampler", "search_space": {}}
    assert sampler_for(config, 0, 0) is None
    space = parse({"a": "choice(relu,[8,16])", "b": "range(0.1,0.4,0.1)", "c": "range(1,6,2)", "d": "7,null"}, [])
    points = grid_points(config, space)
    assert points == [
        {"a": a, "b": b, "c": c, "d": d}
        for a in ("relu", "[8,16]")
        for b in (0.1, 0.2, 0.3)
        for c in (1, 3, 5)
        for d in (7, None)
    ]
    shared, drawn = shared_in(tmp_path), []
    with living(tmp_path) as owner:
        for _ in points:
            claim = shared.claim(owner, len(points), 0, points)
            assert claim is not None
            drawn.append(draw(shared, claim, config, space))
            shared.finish(claim, TrialState.COMPLETE, [0.0])
        assert shared.claim(owner, len(points), 0, points) is None  # exhausted
    assert drawn == points


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("range(3)", [0, 1, 2]),
        ("range(1,10,4)", [1, 5, 9]),
        ("tag(log,range(2,6))", [2, 3, 4, 5]),
        ("range(0,1,0.1)", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]),
        ("range(1e-5,5e-5,1e-5)", [1e-5, 2e-5, 3e-5, 4e-5]),
        ("choice(x)", ["x"]),
    ],
)
def test_the_steps_of_a_grid(text: str, values: list[Any]) -> None:
    assert grid_points(config_of("sampler", "grid"), parse({"a": text}, [])) == [{"a": value} for value in values]


def test_other_samplers_have_no_grid() -> None:
    assert grid_points(config_of("sampler", "random"), SPACE) is None
    assert grid_points(None, SPACE) is None


def test_a_grid_of_what_has_no_steps_is_refused() -> None:
    config = config_of("sampler", "grid")
    with pytest.raises(UserError) as error:
        grid_points(config, parse({"a": "1,2", "lr": "tag(log,interval(1e-4,1))"}, []))
    assert str(error.value) == (
        "sweep/sampler=grid: lr has no steps (0.0001 to 1.0): give choice(...) or range(start,stop,step)"
    )
    with pytest.raises(UserError, match=r"^sweep/sampler=grid searches what sweep\.params lists, not a function: "):
        grid_points(config, parse({"a": "1,2"}, [], function=lambda trial: {}))


@pytest.mark.parametrize(
    ("params", "count"),
    [
        ({"a": "range(1001)", "b": "range(1000)"}, "1,001,000"),
        ({"a": "range(0,2000000000)"}, "2,000,000,000"),
        ({"a": "range(0,1000,1e-6)"}, "1,000,000,000"),
    ],
)
def test_a_grid_of_too_many_points_is_refused_before_it_is_written_out(params: dict[str, str], count: str) -> None:
    config = config_of("sampler", "grid")
    said = within_limits(lambda: str(grid_points(config, parse(params, []))))
    assert said == f"the grid has {count} points: take fewer values, or sweep/sampler=random"


@pytest.mark.parametrize("name", PRUNERS)
def test_every_pruner_runs_a_study(tmp_path: Path, name: str) -> None:
    """Each trial is worse than the one before at every step; the first ten get better with each, the last worse."""
    shared = shared_in(tmp_path)
    shared.study.pruner = make_pruner(config_of("pruner", name))
    steps = []
    with living(tmp_path) as owner:
        for number in range(20):
            claim = shared.claim(owner, 20, 0)
            assert claim is not None
            trial = shared.trial(claim)
            for step in range(1, 13):
                trial.report(number + 1 / step + (step if number >= 10 else 0), step)
                if trial.should_prune():
                    shared.finish(claim, TrialState.PRUNED, None)
                    break
            else:
                shared.finish(claim, TrialState.COMPLETE, [float(number)])
            steps.append(step)
    trials = shared.trials()
    assert [trial.number for trial in trials] == list(range(20))
    assert trials[0].state is TrialState.COMPLETE
    assert [trial.state is TrialState.PRUNED for trial in trials] == [step < 12 for step in steps]
    assert all(
        trial.value == trial.intermediate_values[steps[trial.number]] for trial in trials if steps[trial.number] < 12
    )
    if name == "hyperband":  # which bracket a trial is in follows from the study's name
        assert steps[0] == 12
        assert {*steps} == {1, 3, 9, 12}
    else:
        assert steps == STEPS[name]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"_target_": "optuna.samplers.TPESampler", "n_startup": 3}, "sweep/sampler: .*n_startup"),
        ({"_target_": "optuna.samplers.QMCSampler", "qmc_type": "soble"}, "sweep/sampler: .*soble"),
        ({"_target_": "optuna.samplers.NSGAIISampler", "population_size": 1}, "sweep/sampler: .*population_size"),
        ({"_target_": "optuna.samplers.NoSampler"}, "sweep/sampler: .*NoSampler"),
    ],
)
def test_a_sampler_that_cannot_be_made_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        sampler_for(config, 0, 0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"_target_": "optuna.pruners.MedianPruner", "warmup": 3}, "sweep/pruner: .*warmup"),
        ({"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": -1}, "sweep/pruner: .*-1"),
        ({"_target_": "optuna.pruners.PatientPruner", "wrapped_pruner": None, "patience": -1}, "sweep/pruner: .*-1"),
    ],
)
def test_a_pruner_that_cannot_be_made_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        make_pruner(config)


@pytest.mark.parametrize("name", NEEDS)
def test_a_package_that_is_not_installed_is_missed_before_the_first_trial(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    group = "sampler" if name in SAMPLERS else "pruner"
    config = config_of(group, name)
    monkeypatch.setitem(sys.modules, NEEDS[name], None)
    with pytest.raises(UserError) as error:
        sampler_for(config, 0, 0) if group == "sampler" else make_pruner(config)
    assert str(error.value).startswith(f"sweep/{group} needs a package that is not installed (")
    assert NEEDS[name] in str(error.value)
    assert str(error.value).endswith("): pip install '.[samplers]'")
