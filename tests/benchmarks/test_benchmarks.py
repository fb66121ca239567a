"""The benchmark command runs and shows both sides; how fast they are is for the reader to see."""

import json
import math
import re
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from project.benchmark import NAMES
from project.benchmarks.input import input_pipeline
from project.benchmarks.measuring import Figure, shown
from project.benchmarks.running import OF_ALL, QUICK
from tests.commands import forked, run_module


def test_figures_compare_repeat_by_repeat() -> None:
    times = Figure("a step", "ms", [2.0, 9.0, 3.0], [2.0, 3.0, 2.0], "<= 1.4")
    assert times.compared == [1.0, 3.0, 1.5]
    assert times.reached is False
    assert times.row() == {
        "what": "a step", "unit": "ms", "ours": "3", "reference": "2", "ratio": "1.5", "from": "1 to 3",
        "target": "<= 1.4 MISSED",
    }  # fmt: skip
    rates = Figure("input", "images/s", [30_000.0], [1000.0], ">= 24")
    assert (rates.compared, rates.reached) == ([30.0], True)
    more = Figure("a step", "us", [500.0, 700.0], [300.0, 400.0], "<= 300", by="difference")
    assert (more.compared, more.reached, more.row()["ratio"]) == ([200.0, 300.0], True, "250 more")
    alone = Figure("start", "s", [0.5])
    assert (alone.compared, alone.reached) == ([0.5], None)
    assert Figure("busy", "%", [90.0], [40.0], ">= 85", by="value").reached is True


def test_a_table_names_the_machine() -> None:
    text = shown([Figure("start", "s", [0.5], target="<= 1")], repeats=3)
    assert "<= 1 reached" in text
    assert "medians of 3 repeats, " in text
    assert f"torch {version('torch')}" in text


def test_input_is_measured_on_both_sides() -> None:
    [figure] = input_pipeline(repeats=2, count=512)
    assert len(figure.ours) == len(figure.reference) == 2
    assert min(*figure.ours, *figure.reference) > 0


@pytest.mark.slow
def test_the_command_shows_what_it_found_and_tells_mistakes(tmp_path: Path) -> None:
    done = run_module("project.benchmark", "input", "--quick", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "against PIL transforms per sample" in done.stdout
    nowhere = (
        [] if torch.cuda.is_available() else [(["input", "--device", "gpu"], "is not on this machine, which has: cpu")]
    )
    for words, message in (
        *nowhere,
        (["nothing"], "invalid choice: 'nothing'"),
        (["input", "--repeats", "0"], "at least 1, got 0"),
        (["recurrent", "--compile", "gru2"], "there is no such cell"),
    ):
        refused = run_module("project.benchmark", *words, cwd=tmp_path)
        assert refused.returncode == 2
        assert message in refused.stderr


def test_all_knows_every_benchmark() -> None:
    assert set(OF_ALL) == set(QUICK) == set(NAMES) - {"sweep"}


@pytest.fixture(scope="module")
def of_all(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where `all` has written its figures, and what it said; those of sweeps are measured in a file of their own."""
    folder = tmp_path_factory.mktemp("all")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("project.benchmarks.sweeps.measured", lambda scale: {})
        patch.setattr("project.benchmarks.sweeps.sweep_figures", lambda found, scale: [Figure("a sweep", "s", [1.0])])
        patch.setattr("project.benchmarks.startup.run_module", forked)
        done = run_module("project.benchmark", "all", "--quick", cwd=folder, timeout=500)
    assert done.returncode == 0, done.stderr
    return folder / "outputs/benchmark", done.stdout


@pytest.mark.slow
def test_all_of_it_is_kept(of_all: tuple[Path, str]) -> None:
    folder, _ = of_all
    record = json.loads((folder / "benchmark.json").read_text())
    assert {figure["benchmark"] for figure in record["figures"]} == set(NAMES)
    lines = (folder / "benchmark.md").read_text().splitlines()
    assert lines[0].startswith("| what | unit | ours | reference |")
    assert len([line for line in lines if line.startswith("| ")]) == 2 + len(record["figures"])
    for figure in record["figures"]:
        values = [*figure["ours"], *figure["reference"]]
        assert all(map(math.isfinite, values)), figure
        # of so few steps a difference of two times can be anything
        assert figure["unit"] == "%" or re.search("above|beyond", figure["what"]) or min(*values, 1) > 0, figure
    found = {figure["what"] for figure in record["figures"]}
    assert "forward and backward of lstm, float32, against nn.LSTM" in found
    assert "forward and backward of mut1, float32, against nn.GRU" in found


@pytest.mark.slow
def test_a_plain_run_imports_nothing_that_it_does_not_use(of_all: tuple[Path, str]) -> None:
    """In interpreters of their own, which have imported nothing before."""
    said = "heavy packages that a plain run imports: (.*); and Lightning for itself: (.*)"
    (ours, lightnings), *others = re.findall(said, of_all[1])
    assert not others
    assert ours == "tensorboard"  # its event files
    assert "torchmetrics" in lightnings.split(", ")
    (spared,) = re.findall("what `import lightning` imports and a plain run does not: (.*)", of_all[1])
    assert {"matplotlib", "torch._dynamo", "torchvision"} <= set(spared.split(", "))
