"""Hydra's sweep syntax on one side, Optuna's distributions on the other; and the spaces that `conf/sweep` names."""

import math
import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import optuna
import pytest
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from project.errors import UserError
from project.runs.checks import check
from project.runs.hydra_versions import DEFAULTS
from project.sweeps.composing import Composer
from project.sweeps.functions import function
from project.sweeps.space import Space, override, parse, values_of
from tests.conftest import CONF, choices
from tests.sweeps.processes import within_limits

SAMPLED: list[tuple[str, BaseDistribution]] = [
    ("a=1,2", CategoricalDistribution((1, 2))),
    ("a=relu,tanh,gelu", CategoricalDistribution(("relu", "tanh", "gelu"))),
    ("a=null,64", CategoricalDistribution((None, 64))),
    ("a=choice(3)", CategoricalDistribution((3,))),
    ("a=choice(1, 2 ,3)", CategoricalDistribution((1, 2, 3))),
    ("a=choice(1.0,2.5)", CategoricalDistribution((1.0, 2.5))),
    ("a=choice(1e-3,1e-2)", CategoricalDistribution((0.001, 0.01))),
    ("a=choice(true,false)", CategoricalDistribution((True, False))),
    ("a=choice(x,x,y)", CategoricalDistribution(("x", "y"))),
    ("a=choice(a b,c)", CategoricalDistribution(("a b", "c"))),
    ("a=choice('x, y',\"z\")", CategoricalDistribution(("x, y", "z"))),
    ("a=choice('1',1)", CategoricalDistribution(("1", 1))),
    ("a=choice('',x)", CategoricalDistribution(("", "x"))),
    ("a=choice([512],[512,256])", CategoricalDistribution(("[512]", "[512,256]"))),
    ("a=choice([],[x,'1'])", CategoricalDistribution(("[]", "[x,'1']"))),
    ("a=choice({x:1},{y:[2,3]})", CategoricalDistribution(("{x:1}", "{y:[2,3]}"))),
    ("a=choice(${seed},1)", CategoricalDistribution(("${seed}", 1))),
    ("a=sort(3,1,2)", CategoricalDistribution((1, 2, 3))),
    ("a=sort(choice(1,3,2),reverse=true)", CategoricalDistribution((3, 2, 1))),
    ("a=int(choice(1.5,2.5))", CategoricalDistribution((1, 2))),
    ("a=str(choice(1,2))", CategoricalDistribution(("1", "2"))),
    ("a=range(5)", IntDistribution(0, 4)),
    ("a=range(1,5)", IntDistribution(1, 4)),
    ("a=range(start=1,stop=5)", IntDistribution(1, 4)),
    ("a=range(-5,0)", IntDistribution(-5, -1)),
    ("a=range(1,2)", IntDistribution(1, 1)),
    ("a=range(1,10,2)", IntDistribution(1, 9, step=2)),
    ("a=range(1,10,3)", IntDistribution(1, 7, step=3)),
    ("a=range(10,1,-3)", IntDistribution(4, 10, step=3)),
    ("a=sort(range(5,1,-1))", IntDistribution(2, 5)),
    ("a=tag(log,range(1,1000))", IntDistribution(1, 999, log=True)),
    ("a=tag(log,range(10,1,-1))", IntDistribution(2, 10, log=True)),
    ("a=float(range(1,4))", FloatDistribution(1.0, 3.0, step=1.0)),
    ("a=range(0,1,0.25)", FloatDistribution(0.0, 0.75, step=0.25)),
    ("a=range(0.1,1,0.1)", FloatDistribution(0.1, 0.9, step=0.1)),
    ("a=range(0,0.3,0.1)", FloatDistribution(0.0, 0.2, step=0.1)),
    ("a=range(0.1,0.4,0.1)", FloatDistribution(0.1, 0.3, step=0.1)),
    ("a=range(1.0,0.0,-0.25)", FloatDistribution(0.25, 1.0, step=0.25)),
    ("a=range(0.5,0.6,1)", FloatDistribution(0.5, 0.5, step=1.0)),
    ("a=tag(log,range(0.5,10))", FloatDistribution(0.5, 9.5, log=True)),
    ("a=interval(0,1)", FloatDistribution(0.0, 1.0)),
    ("a=interval(start=-1,end=2.5)", FloatDistribution(-1.0, 2.5)),
    ("a=interval(1,10)", FloatDistribution(1.0, 10.0)),
    ("a=int(interval(0.5,10.5))", IntDistribution(0, 10)),
    ("a=tag(log,interval(1e-4,1))", FloatDistribution(1e-4, 1.0, log=True)),
    ("a=tag(log, interval(1e-4, 1))", FloatDistribution(1e-4, 1.0, log=True)),
    ("a=tag(log,int(interval(1,1000)))", IntDistribution(1, 1000, log=True)),
]


@pytest.fixture
def loader() -> Iterator[ConfigLoader]:
    """Hydra's, over `conf/`."""
    with initialize_config_dir(str(CONF), **DEFAULTS):
        yield GlobalHydra.instance().config_loader()


@pytest.mark.parametrize(("word", "drawn"), SAMPLED)
def test_every_form_of_the_syntax_is_one_distribution(word: str, drawn: BaseDistribution) -> None:
    key, _, text = word.partition("=")
    for space in (parse({}, [word]), parse({key: text}, [])):
        assert space == Space({"a": drawn}, [], None)
    if isinstance(drawn, CategoricalDistribution):  # 1, 1.0 and True are equal to Python, not to a config
        (parsed,) = parse({}, [word]).distributions.values()
        assert isinstance(parsed, CategoricalDistribution)
        assert [type(value) for value in parsed.choices] == [type(value) for value in drawn.choices]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("model=glob(mut*)", ("mut1", "mut2", "mut3")),
        ("model=glob([rnn,*gru],exclude=mut*)", ("gru", "rnn")),
        ("cell=glob(*,exclude=[mut*,gru])", ("lstm", "rnn")),
    ],
)
def test_glob_chooses_from_a_config_group(loader: ConfigLoader, word: str, expected: tuple[str, ...]) -> None:
    (drawn,) = parse({}, [word], loader).distributions.values()
    assert drawn == CategoricalDistribution(expected)


@pytest.mark.parametrize("word", ["model=glob(nothing*)", "optimizer.lr=glob(*)"])
def test_a_glob_that_finds_nothing_is_refused(loader: ConfigLoader, word: str) -> None:
    with pytest.raises(UserError) as error:
        parse({}, [word], loader)
    assert str(error.value) == f"{word}: there is nothing to choose from"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("a=interval(1,1)", "a=interval(1,1): the range is empty, since 1.0 is not below 1.0"),
        ("a=interval(2,1)", "a=interval(2,1): the range is empty, since 2.0 is not below 1.0"),
        ("a=interval(nan,1)", "a=interval(nan,1): the ends must be finite"),
        ("a=interval(0,inf)", "a=interval(0,inf): the ends must be finite"),
        ("a=interval(1e400,1e401)", "a=interval(1e400,1e401): the ends must be finite"),
        (
            "a=tag(log,interval(0,1))",
            "a=tag(log,interval(0,1)): a logarithmic range must begin above 0, got 0.0",
        ),
        (
            "a=tag(log,interval(-1,1))",
            "a=tag(log,interval(-1,1)): a logarithmic range must begin above 0, got -1.0",
        ),
        ("a=tag(log,range(0,10))", "a=tag(log,range(0,10)): a logarithmic range must begin above 0, got 0"),
        ("a=tag(log,range(1,100,10))", "a=tag(log,range(1,100,10)): a logarithmic range has no steps"),
        ("a=range(5,5)", "a=range(5,5): the range is empty: from 5 to below 5 in steps of 1"),
        ("a=range(5,1)", "a=range(5,1): the range is empty: from 5 to below 1 in steps of 1"),
        ("a=range(0,5,-1)", "a=range(0,5,-1): the range is empty: from 0 to below 5 in steps of -1"),
        ("a=range(1.0,0.5)", "a=range(1.0,0.5): the range is empty: from 1.0 to below 0.5 in steps of 1"),
        ("a=range(0,5,0)", "a=range(0,5,0): a step of 0 gets nowhere"),
        ("a=range(0,1,0.0)", "a=range(0,1,0.0): a step of 0 gets nowhere"),
        ("a=shuffle(range(3))", "a=shuffle(range(3)): a range is drawn from as it is, without shuffle"),
        ("a=shuffle(1,2)", "a=shuffle(1,2): a choice is drawn from as it is, without shuffle or tags"),
        ("a=tag(log,choice(1,2))", "a=tag(log,choice(1,2)): a choice is drawn from as it is, without shuffle or tags"),
        ("a=tag(foo,interval(0,1))", "a=tag(foo,interval(0,1)): the only tag is log, got foo"),
        ("a=tag(log,base,foo,interval(1,2))", "a=tag(log,base,foo,interval(1,2)): the only tag is log, got base, foo"),
        ("+a=1,2", "+a=1,2: what is searched must exist already, so it is written without + or ~: a=..."),
        ("++a=1,2", "++a=1,2: what is searched must exist already, so it is written without + or ~: a=..."),
    ],
)
def test_what_cannot_be_searched_is_refused_by_name(word: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        parse({}, [word])
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("a=choice()", "a=choice() cannot be read: ValueError while evaluating 'choice()': empty choice"),
        ("a=interval(1)", "a=interval(1) cannot be read: TypeError while evaluating 'interval(1)': missing a required"),
        ("a=interval(0,1", "a=interval(0,1 cannot be read: no viable alternative at input"),
        ("a=chioce(1,2)", "a=chioce(1,2) cannot be read: HydraException while evaluating 'chioce(1,2)': Unknown func"),
        ("a b=1,2", "a b=1,2 cannot be read: token recognition error at: ' '"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(word: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        parse({}, [word])
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    if not word.startswith("a b"):
        with pytest.raises(UserError, match=r"^sweep\.params\.a cannot be read: "):
            parse({"a": word.partition("=")[2]}, [])


@pytest.mark.parametrize(
    "word",
    [
        "a=range(0,inf)",
        "a=range(-inf,0)",
        "a=range(nan,1)",
        "a=range(0,nan)",
        "a=range(0,1,nan)",
        "a=range(0,1,inf)",
    ],
)
def test_a_range_without_ends_is_refused(word: str) -> None:
    assert parsed_within_limits(word) == f"{word}: the ends must be finite"


@pytest.mark.parametrize(
    ("word", "drawn"),
    [
        ("a=range(0,2000000000)", IntDistribution(0, 1999999999)),
        ("a=tag(log,range(1,2000000000))", IntDistribution(1, 1999999999, log=True)),
        ("a=range(2000000000,0,-3)", IntDistribution(2, 2000000000, step=3)),
        ("a=range(0,1000,1e-6)", FloatDistribution(0.0, 999.999999, step=1e-6)),
    ],
)
def test_a_long_range_is_not_written_out(word: str, drawn: BaseDistribution) -> None:
    assert parsed_within_limits(word) == repr({"a": drawn})


def parsed_within_limits(word: str) -> str:
    return within_limits(lambda: repr(parse({}, [word]).distributions))


@pytest.mark.parametrize("word", ["a=choice(a,b),c", "a=choice(choice(1,2),range(3))", "a=interval(0,1),2"])
def test_a_search_inside_a_search_is_refused(word: str) -> None:
    with pytest.raises(UserError, match=r"^a="):
        parse({}, [word])


@pytest.mark.parametrize("word", ["a=choice(1,1.0)", "a=choice(true,1)", "a=choice(0,false)", "a=1,2,2.0"])
def test_values_that_optuna_takes_for_the_same_are_refused(word: str) -> None:
    with pytest.raises(UserError, match=rf"^{word.replace('(', '.').replace(')', '.')}: .* the same"):
        parse({}, [word])


def test_the_package_of_a_group_is_kept() -> None:
    space = parse({}, ["db@source=choice(a,b)", "db@target=choice(c,d)"])
    assert list(space.distributions) == ["db@source", "db@target"]
    assert space.first() == ["db@source=a", "db@target=c"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"a": [1, 2]}, "sweep.params.a is a list: write choice(1, 2)"),
        ({"a": (1, "x")}, "sweep.params.a is a list: write choice(1, x)"),
        (
            {"optimizer": {"lr": "choice(1,2)"}},
            "sweep.params.optimizer is a mapping: write the whole key in one line, as in optimizer.lr: ...",
        ),
    ],
)
def test_params_are_texts(params: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        parse(params, [])
    assert str(error.value) == message


def test_values_beside_the_search_are_fixed_for_all_trials() -> None:
    params = {"a": "choice(1,2)", "b": 3, "c": 1e-5, "d": True, "e": None, "f": "x y", "g": "[1,2]"}
    space = parse(params, ["h=4", "+i=5", "~j", "b=6"])
    assert space.distributions == {"a": CategoricalDistribution((1, 2))}
    assert space.fixed == ["b=3", "c=1e-05", "d=True", "e=null", "f=x y", "g=[1,2]", "h=4", "+i=5", "~j", "b=6"]


def test_the_command_line_takes_the_place_of_params() -> None:
    params = {"a": "choice(1,2)", "b": "interval(0,1)", "c": 3}
    space = parse(params, ["b=range(4)", "c=5,6", "d=7,8"])
    assert list(space.distributions.items()) == [
        ("a", CategoricalDistribution((1, 2))),
        ("b", IntDistribution(0, 3)),
        ("c", CategoricalDistribution((5, 6))),
        ("d", CategoricalDistribution((7, 8))),
    ]
    assert space.fixed == []


@pytest.mark.parametrize(
    ("params", "words", "fixed", "space", "remedy"),
    [
        ({"a": "1,2"}, ["a=3"], "a=3", "a=1,2", "a=choice(3)"),
        ({"a": "1,2"}, ["+a=3"], "+a=3", "a=1,2", "a=choice(3)"),
        ({}, ["a=3", "a=1,2"], "a=3", "a=1,2", "a=choice(3)"),
        ({}, ["a=1,2", "a=x"], "a=x", "a=1,2", "a=choice(x)"),
        ({"a": "1,2"}, ["a=[1,2]"], "a=[1,2]", "a=1,2", "a=choice([1,2])"),
    ],
)
def test_a_parameter_both_fixed_and_searched_is_refused(
    params: dict[str, str], words: list[str], fixed: str, space: str, remedy: str
) -> None:
    with pytest.raises(UserError) as error:
        parse(params, words)
    assert str(error.value) == (
        f"a is both fixed ({fixed}) and searched ({space}): leave one out; to search one value only, write '{remedy}'"
    )
    assert parse({}, [remedy]).distributions.keys() == {"a"}  # the remedy is one


@pytest.mark.parametrize("word", ["a=null", "~a", "a=${seed}", "a='x,y'"])
def test_the_remedy_can_be_read(word: str) -> None:
    with pytest.raises(UserError) as error:
        parse({"a": "1,2"}, [word])
    _, quote, remedy = str(error.value).partition("write '")
    assert not quote or parse({}, [remedy.removesuffix("'")]).distributions.keys() == {"a"}


def test_a_parameter_searched_twice_is_refused() -> None:
    with pytest.raises(UserError, match=r"^a is searched twice on the command line: choose one$"):
        parse({}, ["a=1,2", "b=1,2", "a=interval(0,1)"])


@pytest.mark.parametrize(("params", "words"), [({}, []), ({"a": 1}, ["b=2", "c=[1,2]", "~d"])])
def test_a_sweep_that_searches_nothing_is_refused(params: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError, match=r"^this sweep searches nothing: name parameters, e\.g\. 'optimizer\.lr="):
        parse(params, words)
    assert parse(params, words, function=deeper).distributions == {}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (-0.0, "-0.0"),
        (1e-5, "1e-05"),
        (0.1 + 0.2, "0.30000000000000004"),
        (math.inf, "inf"),
        (True, "True"),
        (None, "null"),
        ("relu", "relu"),
        ("a b", "a b"),
        ("", ""),
        ("1", '"1"'),
        ("null", '"null"'),
        ("true", '"true"'),
        (" a", '" a"'),
        ("x,y", '"x,y"'),
        ('say "x"', '"say \\"x\\""'),
        ("choice(1,2)", '"choice(1,2)"'),
        ("[512,256]", "[512,256]"),
        ("${seed}", "${seed}"),
        ([1, 2.5, "x"], "[1,2.5,x]"),
        ({"x": [1, None]}, "{x:[1,null]}"),
        (np.float64(0.1), "0.1"),
        (np.int64(3), "3"),
        (np.bool_(True), "True"),
    ],
)
def test_override_writes_what_a_command_line_reads(value: Any, text: str) -> None:
    assert override("key", value) == f"key={text}"


def test_override_refuses_what_no_config_holds() -> None:
    with pytest.raises(UserError, match=r"^key: .*\(1, 2\)"):
        override("key", (1, 2))


def test_every_text_comes_back_as_itself() -> None:
    rng = random.Random(0)
    parser = OverridesParser.create()
    for _ in range(1500):
        text = "".join(rng.choice("ab1.-+_ ,'\"\\()[]{}:=$#@!%&*/?~^|<>;\n\té0eE") for _ in range(rng.randint(1, 6)))
        word = parser.parse_override(override("key", text))
        assert not word.is_sweep_override()
        assert word.value() == text or isinstance(word.value(), list | dict), text


@pytest.mark.parametrize("value", [0, -7, 10**30, 0.1, 1e22, 5e-324, -0.0, math.inf, True, False, None, [1, "a"], {}])
def test_every_value_comes_back_as_itself(value: Any) -> None:
    back = OverridesParser.create().parse_override(override("key", value)).value()
    assert (type(back), repr(back)) == (type(value), repr(value))


def test_first_and_ends() -> None:
    space = parse({"a": "choice(relu,tanh)", "b": "tag(log,interval(1e-4,1))", "c": "range(1,10,3)"}, [])
    assert space.first() == ["a=relu", "b=0.0001", "c=1"]
    assert [values_of(drawn) for drawn in space.distributions.values()] == [["relu", "tanh"], [1e-4, 1.0], [1, 7]]


def test_suggested_values_are_the_study_s_parameters() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space = parse({"a": "choice(relu,'x, y')", "b": "range(1,3)", "c": "choice([1],[2,3])", "d": "interval(0,1)"}, [])
    for _ in range(10):
        trial = study.ask()
        words = space.suggest(trial)
        quoted = {"relu": "relu", "x, y": '"x, y"'}[trial.params["a"]]
        assert list(trial.params) == ["a", "b", "c", "d"]
        assert words == [f"a={quoted}", *(f"{key}={trial.params[key]}" for key in "bcd")]
        assert space.suggest(trial) == words  # those that it has are kept
        study.tell(trial, 0.0)
    assert study.trials[0].distributions == space.distributions


def deeper(trial: Trial) -> Mapping[str, Any]:
    """Each layer's width, where there is such a layer; the batch size follows from the depth."""
    depth = trial.suggest_int("depth", 1, 3)
    widths = [trial.suggest_categorical(f"width{layer}", [8, 16]) for layer in range(depth)]
    return {"model.net.hidden": widths, "data.batch_size": 128 // depth, "+note": "one, two"}


def test_a_function_draws_parameters_that_depend_on_each_other() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    space = parse({"optimizer.lr": "tag(log,interval(1e-4,1))"}, ["seed=3"], function=deeper)
    assert (list(space.distributions), space.fixed, space.function) == (["optimizer.lr"], ["seed=3"], deeper)
    depths = set()
    for _ in range(20):
        trial = study.ask()
        words = space.suggest(trial)
        drawn = trial.params
        depths.add(drawn["depth"])
        widths = [drawn[f"width{layer}"] for layer in range(drawn["depth"])]
        assert list(drawn) == ["optimizer.lr", "depth", *(f"width{layer}" for layer in range(drawn["depth"]))]
        assert words == [
            f"optimizer.lr={drawn['optimizer.lr']!r}",
            f"model.net.hidden=[{','.join(map(str, widths))}]",
            f"data.batch_size={128 // drawn['depth']}",
            '+note="one, two"',
        ]
        study.tell(trial, 0.0)
    assert depths == {1, 2, 3}


@pytest.mark.parametrize("returned", [None, 3, "a=1", ["a=1"], {1: "a"}, {"a": 1, None: 2}])
def test_a_function_that_returns_no_overrides_is_refused(returned: Any) -> None:
    space = Space({}, function=lambda trial: returned)
    with pytest.raises(UserError) as error:
        space.suggest(optuna.create_study().ask())
    assert str(error.value) == f"sweep.space must return a dict of overrides by key, got {returned!r}"


@pytest.mark.parametrize("key", ["a", "b", "+b"])
def test_a_function_may_not_set_what_is_fixed_or_searched(key: str) -> None:
    space = parse({"a": "interval(0,1)"}, ["b=3"], function=lambda trial: {key: 4})
    with pytest.raises(UserError, match=rf"^sweep\.space sets {key[-1]}, which is "):
        space.suggest(optuna.create_study().ask())


def test_functions_are_named_in_the_config() -> None:
    assert function("tests.sweeps.test_space.deeper", "sweep.space") is deeper
    for name in ("tests.sweeps.test_space.missing", "no_such_module.deeper", "deeper", ".deeper", ""):
        with pytest.raises(UserError, match=rf"^sweep\.space={name}: there is no such function \("):
            function(name, "sweep.space")
    with pytest.raises(UserError, match=r"^sweep\.space=tests\.sweeps\.test_space\.SAMPLED is no function$"):
        function("tests.sweeps.test_space.SAMPLED", "sweep.space")


def test_every_model_has_a_sweep_of_its_name() -> None:
    assert set(choices("model")) <= set(choices("sweep"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in choices("sweep") if name != "default"])
def test_every_sweep_searches_what_its_config_has(loader: ConfigLoader, name: str) -> None:
    lines = (CONF / "sweep" / f"{name}.yaml").read_text().splitlines()
    assert lines[0] == "# @package _global_"
    assert lines[1].startswith(f"# python -m project.train model={name} sweep={name}")

    cfg = loader.load_configuration("train", [f"sweep={name}"], run_mode=None)  # type: ignore[arg-type]
    assert cfg.name == name
    assert cfg.sweep._target_ == "project.sweeps.settings.Settings"
    space = parse(OmegaConf.to_container(cfg.sweep.params), [], loader)  # type: ignore[arg-type]
    assert 4 <= len(space.distributions) <= 6
    assert space.fixed == []
    compose = Composer(loader, cfg, [f"sweep={name}"])
    first = dict(zip(space.distributions, space.first(), strict=True))
    for key, drawn in space.distributions.items():
        for value in values_of(drawn):
            words = [*{**first, key: override(key, value)}.values()]
            trial = compose(words)
            check(trial, [], "train")
            if not compose.is_group(key):
                set_to = OmegaConf.to_container(OmegaConf.create({"value": OmegaConf.select(trial, key)}))
                read = OverridesParser.create().parse_override(override(key, value)).value()
                assert set_to == {"value": read}
