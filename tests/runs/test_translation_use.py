"""A translator that is trained, tested, asked for translations and shown in TensorBoard."""

import gzip
import io
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig
from sacrebleu import corpus_bleu
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from project.data.spelled_numbers import SpelledNumbers
from project.errors import UserError
from project.evaluate import evaluate
from project.predict import predict
from project.runs.resuming import resumed_config
from project.runs.trained import load_run
from project.runs.translation import in_time
from project.tasks.translation import Translation
from project.train import train
from tests.cluster.ranks import train_by
from tests.conftest import compose_config
from tests.runs.test_resume import assert_same, in_child, outcome


def tiny(folder: Path, *words: str) -> DictConfig:
    """The config of a training of a second or two in `folder`, changed by `words`."""
    return compose_config(
        "model=translator",
        "data=spelled_numbers",
        "data.train_pairs=200",
        "data.test_pairs=30",
        "data.batch_size=32",
        "data.eval_batch_size=8",
        "model.net.hidden_size=12",
        "trainer.accelerator=cpu",
        "trainer.max_epochs=2",
        f"folder={folder}",
        *words,
    )


@pytest.fixture(scope="session")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder; it has learned little, and tests only read it."""
    folder = tmp_path_factory.mktemp("translator") / "run"
    train(tiny(folder))
    return folder


@pytest.fixture
def ask(translator: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[list, str, str]]:
    """`ask("input=-")`: what predict returns, and what it printed on standard output and error."""

    def prediction(*words: str) -> tuple[list, str, str]:
        capsys.readouterr()
        cfg = compose_config(f"run={translator}", "accelerator=cpu", *words, name="predict")
        found = predict(cfg)
        return found, *capsys.readouterr()

    return prediction


@pytest.mark.slow
def test_a_training_reports_bleu_and_shows_what_is_written(translator: Path) -> None:
    metrics = json.loads((translator / "metrics.json").read_text())
    assert {"val/loss", "val/perplexity", "val/bleu", "test/loss", "test/perplexity", "test/bleu"} <= set(metrics)
    assert metrics["monitor"] == "val/bleu"
    events = EventAccumulator(str(translator)).Reload()
    assert {"val/bleu", "val/perplexity", "train/loss"} <= set(events.Tags()["scalars"])
    pictures = [tag for tag in events.Tags()["images"] if tag.startswith("attention/")]
    assert len(pictures) >= 1
    shown = events.Tensors("translations/text_summary")
    assert len(shown) == 2  # validations
    text = shown[-1].tensor_proto.string_val[0].decode()
    assert "    source       " in text
    assert "    reference    " in text
    assert "    translation  " in text
    assert "nrefs:1|case:mixed" in text
    assert "BLEU: nrefs:1" in (translator / "train.log").read_text()


@pytest.mark.slow
def test_an_evaluation_agrees_with_the_test_after_training(translator: Path) -> None:
    (found,) = evaluate(compose_config(f"run={translator}", "accelerator=cpu", name="evaluate")).values()
    trained = json.loads((translator / "metrics.json").read_text())
    assert found == {
        name: pytest.approx(trained[name], rel=1e-5) for name in ("test/loss", "test/perplexity", "test/bleu")
    }
    written = (translator / "evaluation" / "translations.txt").read_text(encoding="utf-8").splitlines()
    data = SpelledNumbers(train_pairs=200, test_pairs=30)
    data.setup()
    assert corpus_bleu(written, [data.references("test")]).score == pytest.approx(found["test/bleu"])
    stored = json.loads((translator / "evaluation" / "metrics.json").read_text())
    assert stored["signature"].startswith("nrefs:1|")


def test_lines_of_a_file_in_their_order(translator: Path, ask: Callable, tmp_path: Path) -> None:
    lines = ["zweihunderteins", "", "  ", "vier", "neunhundertneunundneunzigtausend"]
    path = tmp_path / "numbers.de.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    found, out, _ = ask(f"input={path}", "batch_size=2")
    assert [one["text"] for one in found] == lines
    assert out.split("\n") == [*(one["translation"] for one in found), ""]
    assert [one["translation"] == "" for one in found][1:3] == [True, True]
    assert found[1]["score"] is None
    alone = [ask(f"input={line}")[0][0] for line in lines if line.strip()]
    assert [one["translation"] for one in alone] == [one["translation"] for one in found if one["text"].strip()]


@pytest.mark.slow
def test_formats(translator: Path, ask: Callable) -> None:
    found, out, _ = ask("input=dreizehn", "format=jsonl")
    assert json.loads(out) == found[0]
    assert found[0]["score"] < 0
    _, out, _ = ask("input=dreizehn", "format=table")
    assert out.splitlines()[0].split() == ["text", "translation"]
    assert "dreizehn" in out.splitlines()[1]
    _, out, _ = ask("input=dreizehn")
    assert out == found[0]["translation"] + "\n"


def test_a_beam_of_one_is_what_validation_writes(translator: Path, ask: Callable) -> None:
    (found,), _, _ = ask("input=siebenundzwanzig", "beam_size=1")
    trained = load_run(str(translator), "outputs")
    assert isinstance(trained.task, Translation)
    data = SpelledNumbers(train_pairs=200, test_pairs=30)
    data.setup()
    source = torch.tensor([*data.source.encode("siebenundzwanzig"), 3])[:, None]
    (expected,) = trained.task.translate(source, torch.tensor([len(source)]), beam_size=1)
    assert found["translation"] == data.target.decode(expected.tokens)


def test_unknown_words_are_named(ask: Callable) -> None:
    _, _, err = ask("input='vier Ärzte'")
    assert err == "note: not in the vocabulary: 'Ärzte'\n"
    assert ask("input=vier")[2] == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["input=x", "beam_size=0"],
            "beam_size must be a whole number of at least 1, or null for the run's own, got 0",
        ),
        (["input=x", "format=xml"], "format=xml is unknown: choose lines or table or jsonl"),
    ],
)
def test_mistakes(ask: Callable, words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ask(*words)


def test_lines_that_come_together_are_answered_together() -> None:
    assert list(in_time("abcde", 2)) == [["a", "b"], ["c", "d"], ["e"]]
    assert list(in_time("", 2)) == []


def test_a_line_does_not_wait_for_the_next_one() -> None:
    go_on = threading.Event()

    def slowly() -> Iterator[str]:
        yield "one"
        assert go_on.wait(20)
        yield "two"

    batches = in_time(slowly(), 8)
    assert next(batches) == ["one"]  # although another one is still to come
    go_on.set()
    assert list(batches) == [["two"]]


def test_what_is_wrong_with_a_line_is_told_after_the_lines_before_it() -> None:
    def broken() -> Iterator[str]:
        yield "one"
        raise UserError("no more")

    batches = in_time(broken(), 8)
    assert next(batches) == ["one"]
    with pytest.raises(UserError, match="no more"):
        next(batches)


@pytest.mark.slow
def test_standard_input_is_answered_line_by_line(translator: Path) -> None:
    command = [sys.executable, "-m", "project.predict", f"run={translator}", "input=-", "accelerator=cpu"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        assert isinstance(process.stdin, io.TextIOBase)
        assert isinstance(process.stdout, io.TextIOBase)
        for line in ("zwei", "", "dreißig"):
            process.stdin.write(line + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            assert answer.endswith("\n")
            assert (answer == "\n") == (line == "")
        process.stdin.close()
        assert process.stdout.read() == ""
        assert process.wait(60) == 0


def test_without_attention_there_is_no_picture(tmp_path: Path) -> None:
    words = ("model.net.attention=false", "trainer.max_epochs=1", "test=false")
    train(tiny(tmp_path / "run", *words, "cell=lstm"))
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    assert not events.Tags()["images"]
    assert "translations/text_summary" in events.Tags()["tensors"]


@pytest.mark.parametrize(
    ("step", "validating"),
    [(3, False), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((5, True), (7, False)))],
)
def test_a_run_that_is_killed_and_resumed_is_the_run_that_never_stopped(
    tmp_path: Path, step: int, validating: bool
) -> None:
    """5 batches of 36 an epoch; dropout draws random numbers."""
    words = ("data.batch_size=36", "callbacks.checkpoints.every_n_steps=1", "trainer.log_every_n_steps=2")
    train(tiny(tmp_path / "whole", *words))
    kill = f"+callbacks.kill={{_target_:tests.runs.parts.SignalAt,step:{step},validating:{str(validating).lower()}}}"
    assert in_child(lambda: train(tiny(tmp_path / "run", *words, kill))) == signal.SIGKILL
    train(resumed_config(str(tmp_path / "run"), ["~callbacks.kill"], "outputs"))
    assert_same(outcome(tmp_path / "run"), outcome(tmp_path / "whole"))


@pytest.mark.slow
def test_two_processes_train_what_one_trains(tmp_path: Path) -> None:
    words = ["model=translator", "data=spelled_numbers", "data.train_pairs=200", "data.test_pairs=30", "trainer=cpu"]
    words += ["data.batch_size=20", "data.eval_batch_size=8", "model.net.hidden_size=12", "model.net.dropout=0"]
    words += ["trainer.max_epochs=2", "optimizer=sgd", "optimizer.lr=0.1"]
    train_by(1, *words, "trainer.devices=1", f"folder={tmp_path / 'one'}", cwd=tmp_path)
    train_by(2, *words, "trainer.devices=2", "trainer.strategy=ddp", f"folder={tmp_path / 'two'}", cwd=tmp_path)
    one, two = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert (two["samples"], two["steps"]) == (one["samples"], one["steps"])
    for name in ("train/loss", "val/loss", "val/perplexity", "val/bleu", "test/loss", "test/bleu"):
        assert two[name] == pytest.approx(one[name], rel=1e-4), name


@pytest.mark.slow
def test_spelled_numbers_are_learned(tmp_path: Path) -> None:
    """German numbers to English ones: the tens and units change places, which takes attention."""
    words = ("data.train_pairs=3000", "data.batch_size=64", "data.eval_batch_size=256", "model.net.hidden_size=96")
    train(tiny(tmp_path / "run", *words, "data.test_pairs=200", "trainer.max_epochs=6", "optimizer.lr=4e-3"))
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["test/bleu"] > 95
