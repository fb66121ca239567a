"""Text classifiers that are trained, evaluated, compared in an ensemble, and asked for predictions."""

import gzip
import io
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn import functional as F

from project.data.opinions import Opinions
from project.data.reviews import LabelledSentences, encode_sentence
from project.data.sentences import Sentences
from project.errors import UserError
from project.evaluate import evaluate
from project.predict import predict
from project.runs.evaluation import scores
from project.runs.trained import load_run
from project.train import train
from tests.cluster.ranks import train_by
from tests.conftest import compose_config
from tests.runs.text import tiny_text

Finished = Callable[..., Path]
Ask = Callable[..., tuple[list, str, str]]

HOSTILE = "a great film, with 'quotes', commas & 100% $pecial (chars)! {x: [\"y\"]} ${seed} \\n ~ #1 =ok"
TINY = ("data=opinions", "data.train_sentences=200", "data.test_sentences=45", "data.eval_batch_size=16")


def tiny(folder: Path, *words: str) -> DictConfig:
    """The config of a training of a second or two in `folder`, changed by `words`."""
    small = ("data.batch_size=32", "model.net.hidden_size=8", "optimizer.lr=0.02", "trainer.max_epochs=2")
    return compose_config("model=text_classifier", *TINY, *small, "trainer.accelerator=cpu", f"folder={folder}", *words)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The folder of a finished run with a seed, trained once for all tests; they only read it."""
    known: dict[int, Path] = {}

    def run(seed: int = 0) -> Path:
        if seed not in known:
            folder = tmp_path_factory.mktemp("text") / "run"
            # other batches, another vocabulary, other validation sentences: but the same test
            changes = [f"seed={seed}", f"data.eval_batch_size={16 - seed}", f"data.min_count={2 + 50 * seed}"]
            train(tiny(folder, *changes, f"data.split_seed={seed}"))
            known[seed] = folder
        return known[seed]

    return run


@pytest.fixture
def ask(finished: Finished, capsys: pytest.CaptureFixture[str]) -> Ask:
    """`ask("a text", top=1)`: what predict returns, and what it printed on standard output and error."""

    def prediction(given: str, **options: object) -> tuple[list, str, str]:
        folder = finished()
        capsys.readouterr()  # what the training said
        cfg = compose_config(f"run={folder}", "accelerator=cpu", "input=x", name="predict")
        cfg.input = given.replace("${", "\\${")  # as the command hands it over
        cfg.update(options)
        return predict(cfg), *capsys.readouterr()

    return prediction


def evaluation(*words: str) -> dict:
    return evaluate(compose_config("accelerator=cpu", *words, name="evaluate"))


def probabilities(folder: Path, texts: Sequence[str]) -> torch.Tensor:
    """(N, K), each text by itself."""
    trained = load_run(str(folder), "outputs")
    found = []
    with torch.inference_mode():
        for text in texts:
            ids = torch.from_numpy(encode_sentence(text, trained.data))
            found.append(trained.task.net(ids[:, None], torch.tensor([len(ids)])).double().softmax(1))
    return torch.cat(found)


def sentences_of_the_test() -> tuple[list[str], torch.Tensor]:
    """All words of the test sentences, in the order of the data, and the labels."""
    data = Opinions(train_sentences=200, test_sentences=45)
    read = data.read()
    return read.texts["test"], torch.from_numpy(read.labels["test"])


@pytest.mark.slow
def test_evaluation_agrees_with_the_test_after_training(finished: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    folder = finished()
    capsys.readouterr()
    (found,) = evaluation(f"run={folder}").values()
    trained = json.loads((folder / "metrics.json").read_text())
    assert set(found) == {"test/accuracy", "test/f1", "test/loss"}
    assert found == pytest.approx({name: trained[name] for name in found}, rel=1e-5)
    written = json.loads((folder / "evaluation" / "metrics.json").read_text())
    confusion = np.array(written["confusion"])
    assert confusion.trace() / 45 == found["test/accuracy"]
    assert [row["sentences"] for row in written["classes"]] == confusion.sum(1).tolist() == [23, 22]
    assert np.mean([row["f1"] for row in written["classes"]]) == pytest.approx(found["test/f1"])
    assert Image.open(folder / "evaluation" / "confusion.png").size[0] > 300
    tags = EventAccumulator(str(folder)).Reload().Tags()
    assert "test/confusion_matrix" in tags["images"]
    assert {"val/f1", "test/f1", "train/accuracy"} <= set(tags["scalars"])
    shown = capsys.readouterr().out
    assert "positive" in shown
    assert "test/f1" in shown


@pytest.mark.slow
def test_an_ensemble_averages_the_probabilities_of_the_same_sentences(finished: Finished) -> None:
    folders = [finished(0), finished(1)]
    assert load_run(str(folders[0]), "").data["sizes"] != load_run(str(folders[1]), "").data["sizes"]
    found = evaluation(f"run=[{folders[0]},{folders[1]}]")
    assert list(found) == [*map(str, folders), "ensemble"]
    texts, labels = sentences_of_the_test()
    own = [probabilities(folder, texts) for folder in folders]
    names = ("accuracy", "f1", "loss")
    assert found["ensemble"] == pytest.approx(scores(torch.stack(own).mean(0), labels, names), rel=1e-4)
    for folder, mine in zip(folders, own, strict=True):
        assert found[str(folder)] == pytest.approx(scores(mine, labels, names), rel=1e-4)


@pytest.mark.slow
def test_runs_that_cannot_be_compared_or_tested(finished: Finished, tmp_path: Path) -> None:
    train(tiny(tmp_path / "other", "data.test_sentences=30", "trainer=smoke"))
    with pytest.raises(UserError, match=r"have other test sentences, so they cannot be compared"):
        evaluation(f"run=[{finished()},{tmp_path / 'other'}]")
    (tmp_path / "texts.tsv").write_text("\n".join(f"film {i}\t{i % 2}" for i in range(20)))
    words = ("data=reviews", f"data.path={tmp_path / 'texts.tsv'}", "data.test_fraction=0", "trainer=smoke")
    small = ("model.net.hidden_size=4", "data.batch_size=8", "trainer.accelerator=cpu", "test=false")
    train(compose_config("model=text_classifier", *words, *small, f"folder={tmp_path / 'untested'}"))
    with pytest.raises(UserError, match="data that have no test part, so there is nothing to test it on"):
        evaluation(f"run={tmp_path / 'untested'}")


def test_predictions_are_those_of_the_network(finished: Finished, ask: Ask, tmp_path: Path) -> None:
    texts = ["the plot is not good .", "although the cast was dull , the film felt never boring .", "the", "the end"]
    expected = probabilities(finished(), texts)
    path = tmp_path / "lines.txt"
    path.write_bytes("\n".join(texts).encode())
    found, printed, told = ask(str(path), format="jsonl", top=1, batch_size=3)
    assert [json.loads(line) for line in printed.splitlines()] == found
    assert [one["text"] for one in found] == texts
    values, labels = expected.max(1)
    assert [one["probability"] for one in found] == pytest.approx(values.tolist(), abs=1e-6)
    assert [one["class"] for one in found] == [("negative", "positive")[label] for label in labels]
    assert [len(one["top"]) for one in found] == [1] * 4
    assert told == "note: not in the vocabulary: 'end'\n"
    table = ask(texts[0])[1].splitlines()
    assert table[0].split() == ["text", "class", "probability", "then"]
    assert table[1].startswith(texts[0])


@pytest.mark.parametrize("form", ["plain", "windows", "gz", "stdin"])
def test_lines_of_files_and_of_standard_input(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    lines = ["the plot is good .", "", "der Schluß ist gut", "  ", "the cast is dull ."]
    content = ("\ufeff" if form == "windows" else "") + ("\r\n" if form == "windows" else "\n").join(lines)
    path = tmp_path / "lines"
    path.write_bytes(gzip.compress(content.encode(), mtime=0) if form == "gz" else content.encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode()), encoding="ascii"))
    found, _, told = ask("-" if form == "stdin" else str(path), batch_size=2)
    assert [one["text"] for one in found] == [lines[0], lines[2], lines[4]]
    assert told.splitlines() == [
        "note: left out empty lines: 2, 4",
        "note: not in the vocabulary: 'der', 'schluß', 'ist', 'gut'",
    ]


def test_a_text_is_taken_as_it_is(ask: Ask) -> None:
    found, printed, told = ask(HOSTILE)
    assert found[0]["text"] == HOSTILE
    assert HOSTILE[:50] in printed
    assert told.startswith("note: not in the vocabulary: 'a', 'great', 'with', \"'\", 'quotes', 'commas', '&'")
    assert ask("The Plot is GOOD")[2] == ""  # as in training, letters are read as small ones


def test_unknown_words_alone_are_classified_too(ask: Ask) -> None:
    found, _, told = ask("xyzzy plugh")
    assert len(found) == 1
    assert told == "note: not in the vocabulary: 'xyzzy', 'plugh'\n"
    assert "and 30 more" in ask(" ".join(f"unheard{number}" for number in range(50)))[2]


def test_only_the_beginning_of_a_long_text_is_read(finished: Finished, ask: Ask) -> None:
    long = "the plot is good . " * 100  # 500 tokens
    found, printed, told = ask(long)
    assert told == "note: only the first 400 tokens were read of: lines 1\n"
    assert found[0]["probability"] == pytest.approx(probabilities(finished(), [long]).max().item(), abs=1e-6)
    assert "…" in printed


def test_signs_that_a_terminal_acts_on_are_not_shown_by_the_table(ask: Ask) -> None:
    assert "\x1b" not in ask("good \x1b[31m film\x07")[1]


@pytest.mark.parametrize(
    ("given", "note"),
    [
        ("nowhere.txt", "input=nowhere.txt is no file that exists, and is taken as a text"),
        (".", "input=. is a folder, and is taken as a text"),
        ("x" * 5000, None),
        ("good\x00film", None),
    ],
)
def test_what_looks_like_a_path(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, note: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    found, _, told = ask(given)
    assert found[0]["text"] == given
    assert ("is taken as a text" in told) == (note is not None)
    assert note is None or note in told


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n \n", "is empty: give a text, or a file with a text a line"),
        (b"good\nb\xe4d\n", "line 2: byte 0xe4 at position 2 is not UTF-8"),
        (b"\x1f\x8b torn", "cannot be read"),
    ],
)
def test_files_without_texts(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, message: str
) -> None:
    (tmp_path / "lines").write_bytes(content)
    with pytest.raises(UserError, match=message):
        ask(str(tmp_path / "lines"))
    if not content.startswith(b"\x1f"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        with pytest.raises(UserError, match=message):
            ask("-")


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (" ", {}, "input= is empty: give an image, a folder of images, a video, a text"),
        ("good", {"format": "xml"}, "format=xml is unknown: choose table or jsonl"),
        ("good", {"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
        ("b\udce4d", {}, r"input= is not UTF-8 at its position 2: 'b\\udce4d'"),
    ],
)
def test_mistakes_in_predict(ask: Ask, given: str, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ask(given, **options)


@pytest.mark.slow
def test_a_language_model_is_measured_on_its_test_part_or_else_on_its_validation_part(tmp_path: Path) -> None:
    for part, words in (("val", []), ("test", ["data.test_fraction=0.2", "test=true"])):
        train(tiny_text(tmp_path / part, *words))
        (found,) = evaluation(f"run={tmp_path / part / 'run'}").values()
        trained = json.loads((tmp_path / part / "run" / "metrics.json").read_text())
        assert set(found) == {f"{part}/loss", f"{part}/perplexity", f"{part}/bits_per_character"}
        if part == "test":
            assert found == pytest.approx({name: trained[name] for name in found}, rel=1e-5)


@pytest.mark.slow
def test_an_autoencoder_predicts_nothing(tmp_path: Path) -> None:
    words = ("data=shapes", "data.train_images=100", "data.test_images=20", "data.batch_size=8", "trainer=smoke")
    cfg = compose_config("model=autoencoder_linear", *words, "trainer.accelerator=cpu", f"folder={tmp_path / 'run'}")
    train(cfg)
    with pytest.raises(UserError, match="is a Reconstruction; there are predictions of: ImageClassifier, TextClass"):
        predict(compose_config(f"run={tmp_path / 'run'}", "input=x", "accelerator=cpu", name="predict"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("cell=gru", "model.net.pooling=last", "model.net.num_layers=2", "model.net.embedding_size=5"),
        ("cell=mut1", "model.net.bidirectional=false", "model.net.pooling=mean", "model.net.num_layers=2"),
        ("cell=rnn", "data.tokens=characters"),
    ],
)
def test_other_cells_and_options(tmp_path: Path, words: Sequence[str]) -> None:
    train(tiny(tmp_path / "run", "trainer=smoke", *words))
    (found,) = evaluation(f"run={tmp_path / 'run'}").values()
    assert 0 <= found["test/f1"] <= 1
    cfg = compose_config(f"run={tmp_path / 'run'}", "input=good", "accelerator=cpu", name="predict")
    assert predict(cfg)[0]["text"] == "good"


def test_a_cell_that_adds_its_input_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="of one width, got input 5 and state 8"):
        train(tiny(tmp_path / "run", "cell=mut1", "model.net.embedding_size=5"))


@pytest.mark.slow
def test_the_command_takes_any_text(
    finished: Finished, run_command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run_command("predict", f"run={finished()}", f"input={HOSTILE}", "format=jsonl", "accelerator=cpu")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["text"] == HOSTILE
    assert "note: not in the vocabulary:" in done.stderr


@pytest.mark.slow
def test_f1_is_the_same_over_two_processes(tmp_path: Path) -> None:
    small = ("data.batch_size=32", "model.net.hidden_size=8", "optimizer.lr=0.0", "trainer.max_epochs=1")
    found = []
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        where = ("trainer=cpu", f"trainer.devices={devices}", "trainer.max_epochs=1", f"folder={folder}")
        strategy = ("trainer.strategy=ddp",) if devices > 1 else ()
        train_by(devices, "model=text_classifier", *TINY, *small, *where, *strategy, cwd=tmp_path)
        metrics = json.loads((folder / "metrics.json").read_text())
        found.append({name: metrics[name] for name in ("val/f1", "val/accuracy", "val/loss")})
    assert found[0] == pytest.approx(found[1], rel=1e-5)


@pytest.mark.slow
def test_order_matters_to_a_recurrent_network_and_not_to_a_bag_of_words(tmp_path: Path) -> None:
    words = ("data=opinions", "optimizer.lr=5e-3", "trainer.max_epochs=4", "trainer.accelerator=cpu")
    cfg = compose_config("model=text_classifier", *words, f"folder={tmp_path / 'run'}")
    train(cfg)
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["test/accuracy"] > 0.95
    data = Opinions()
    data.setup()
    assert bag_of_words_accuracy(data) < 0.6


def bag_of_words_accuracy(data: Opinions) -> float:
    """The test accuracy of logistic regression on the shares of the words, trained on all sentences at once."""
    shares, labels = {}, {}
    for name in ("train", "test"):
        part = data.parts[name]
        assert isinstance(part, LabelledSentences)
        shares[name], labels[name] = bags(part.sentences, len(data.vocabulary)), torch.from_numpy(part.labels)
    weight = torch.zeros(2, len(data.vocabulary), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(shares["train"] @ weight.T, labels["train"]) + 1e-6 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return (shares["test"] @ weight.T).argmax(1).eq(labels["test"]).double().mean().item()


def bags(sentences: Sentences, words: int) -> torch.Tensor:
    """(N, words): how large a share of a sentence each word has."""
    counts = [np.bincount(sentences[i], minlength=words) / len(sentences[i]) for i in range(len(sentences))]
    return torch.tensor(np.stack(counts), dtype=torch.float32)
