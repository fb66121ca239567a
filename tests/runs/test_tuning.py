"""What trains fastest here is measured, shown, and said in words to copy."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess, run

import pytest
from omegaconf import DictConfig

from project.errors import UserError
from project.runs import tuning
from project.runs.tuning import Choice, Found, run_tuning
from tests.conftest import CONF, compose_config

SHORT = ("model=mlp", "model.net.hidden=[8]", "data=shapes", "data.train_images=200", "data.test_images=20")
FIRST = Choice("32-true", True, 32)


def tuned(*words: str) -> list[str]:
    return run_tuning(
        compose_config(*SHORT, "trainer.accelerator=cpu", "trainer.precision=32-true", *words, name="tune")
    )


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> dict[Choice, float]:
    """Speeds by choice, 100 for others; filled with what was asked for."""
    known: dict[Choice, float] = {}

    def measured(self: tuning._Tuning, choice: Choice) -> Found:
        known.setdefault(choice, 100.0)
        if known[choice] < 0:
            raise RuntimeError("no compiler")
        return Found(choice, known[choice], 0.01)

    monkeypatch.setattr(tuning._Tuning, "_measured", measured)
    return known


def test_each_is_tried_with_the_best_of_those_before(rates: dict[Choice, float]) -> None:
    first, rates[Choice("32-true", False, 32)] = FIRST, 150.0
    rates[Choice("32-true", False, 64)] = 200.0
    rates[Choice("32-true", False, 64, compile=True)] = 210.0
    words = tuned("data.batch_size=32")
    assert words == ["trainer.precision=32-true", "channels_last=false", "data.batch_size=64", "compile=true"]
    assert list(rates) == [
        Choice("32-true", False, 32), Choice("32-true", False, 64), Choice("32-true", False, 64, compile=True),
        first, Choice("32-true", False, 16), Choice("32-true", False, 128),
    ]  # fmt: skip


def test_what_is_hardly_faster_is_left_as_it_is(rates: dict[Choice, float]) -> None:
    rates[Choice("32-true", False, 32)] = 102.0
    assert tuned("data.batch_size=32") == FIRST.words()


def test_what_fails_is_shown_and_not_chosen(rates: dict[Choice, float], capsys: pytest.CaptureFixture[str]) -> None:
    rates[Choice("32-true", True, 32, compile=True)] = -1.0
    assert tuned("data.batch_size=32") == FIRST.words()
    assert "no compiler" in capsys.readouterr().out


def test_time_that_is_over_ends_it(rates: dict[Choice, float], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 25))
    monkeypatch.setattr("project.runs.tuning.time.monotonic", lambda: float(next(clock)))
    tuned("data.batch_size=32", "seconds=60")
    assert len(rates) == 2  # the first, and one that began before a minute was over


def test_what_would_take_too_long_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    tried: list[Choice] = []

    def measured(self: tuning._Tuning, choice: Choice) -> Found:
        tried.append(choice)
        return Found(choice, 100.0, choice.batch_size / 10)

    monkeypatch.setattr(tuning._Tuning, "_measured", measured)
    tuned("data.batch_size=20", "seconds=60")  # seven steps of twice the batch take 28 s, of four times 56 s
    assert [choice.batch_size for choice in tried] == [20, 20, 10, 40, 80, 20]
    tried.clear()
    tuned("data.batch_size=20", "seconds=50")
    assert [choice.batch_size for choice in tried] == [20, 20, 10, 40, 20]
    assert tried[-1].compile is True
    assert "data.batch_size=80 compile=false  not tried: " in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("seconds=0",), "seconds must be a number above 0, got 0"),
        (("batch_sizes=[0]",), "batch_sizes must be whole numbers of at least 1, got 0"),
        (("data.batch_size=1000",), "larger than the training set"),
    ],
)
def test_mistakes_are_told(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        tuned(*words)


@pytest.mark.slow
def test_the_command_prints_words_that_train(run_command: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    words = [*SHORT, "trainer.accelerator=cpu", "batch_sizes=[16,1000]", "seconds=30"]
    words += [] if shutil.which("g++") else ["compiled=false"]
    path = os.pathsep.join([str(CONF.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "project.tune", *words]  # no fork: a compiler starts processes of its own
    done = run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *_, said = [line for line in done.stdout.splitlines() if line.startswith("trainer.precision=")]
    assert "larger than the training set" in done.stdout
    assert "No CUDA runtime" not in done.stderr  # said by torch where there are a GPU's tools and no GPU
    trained = run_command("train", *SHORT, "trainer=smoke", *said.replace("compile=true", "compile=false").split())
    assert trained.returncode == 0, trained.stderr


@pytest.mark.slow
def test_recurrent_networks_have_no_layout_to_choose(composed: Callable[..., DictConfig], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abcd" * 500)
    words = ["model=lstm", "data=text", f"data.path={tmp_path / 'a.txt'}", f"data.cache_folder={tmp_path}"]
    words += ["model.net.hidden_size=8", "data.batch_size=2", "data.truncate=8", "trainer.accelerator=cpu"]
    found = run_tuning(compose_config(*words, name="tune"))
    assert found[1] == "channels_last=true"
    assert found[3] == "compile=false"
