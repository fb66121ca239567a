"""A network that answers questions: trained, killed and resumed, evaluated, asked, and shown in TensorBoard."""

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image

from project.data.sort_of_clevr import generate
from project.errors import UserError
from project.evaluate import evaluate
from project.predict import predict
from project.runs.resuming import resumed_config
from project.runs.trained import load_run
from project.train import train
from tests.conftest import compose_config
from tests.runs.test_resume import assert_same, in_child, outcome

SMALL = (
    "model=vqa",
    "data.train_images=24",
    "data.test_images=10",
    "data.image_size=32",
    "data.val_fraction=0.25",
    "data.batch_size=6",
    "data.eval_batch_size=4",
    "net.channels=[4,6]",
    "net.strides=[4,2]",
    "model.net.hidden_size=8",
    "model.net.attention_size=6",
    "model.net.hidden=[8]",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=2",
)
QUESTION = "question=what is the shape of the red object ?"


def tiny(folder: Path, *words: str) -> DictConfig:
    """The config of a training of a second in `folder`, changed by `words`."""
    return compose_config(*SMALL, f"folder={folder}", *words)


@pytest.fixture(scope="session")
def answerer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder; it has learned little, and tests only read it."""
    folder = tmp_path_factory.mktemp("answerer") / "run"
    train(tiny(folder, "default_callbacks=scalars"))
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(generate(1, 32, seed=5).images[0]).save(path)
    return path


@pytest.fixture
def ask(answerer: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[list, str, str]]:
    """`ask("input=photo.png")`: what predict returns, and what it printed on standard output and error."""

    def prediction(*words: str) -> tuple[list, str, str]:
        capsys.readouterr()
        # the command takes a question as it stands; here Hydra reads it
        quoted = [f"{key}='{value}'" for key, _, value in (word.partition("=") for word in words)]
        found = predict(compose_config(f"run={answerer}", "accelerator=cpu", *quoted, name="predict"))
        return found, *capsys.readouterr()

    return prediction


def test_accuracies_by_kind_are_measured_in_training_and_evaluated_again(answerer: Path) -> None:
    metrics = json.loads((answerer / "metrics.json").read_text())
    assert metrics["samples"] == 2 * 3 * 6 * 20
    found = evaluate(compose_config(f"run={answerer}", "accelerator=cpu", name="evaluate"))[str(answerer)]
    kinds = [found[f"test/accuracy_{kind}"] for kind in ("relational", "non_relational")]
    assert found["test/accuracy"] == pytest.approx(sum(kinds) / 2)
    assert found == pytest.approx({name: metrics[name] for name in metrics if name.startswith("test/")}, rel=1e-4)
    assert json.loads((answerer / "evaluation" / "metrics.json").read_text()) == found


def test_a_picture_and_a_question_in_an_answer_out(
    ask: Callable[..., tuple[list, str, str]], answerer: Path, photo: Path
) -> None:
    [answer], out, err = ask(f"input={photo}", QUESTION)
    trained = load_run(str(answerer), "outputs")
    pixels = torch.from_numpy(np.array(Image.open(photo))).permute(2, 0, 1).float() / 255
    mean, std = (torch.tensor(trained.data[name]).view(3, 1, 1) for name in ("mean", "std"))
    tokens = trained.data["vocabulary"]["tokens"]
    ids = torch.tensor([tokens.index(word) for word in QUESTION.removeprefix("question=").split()])[:, None]
    with torch.inference_mode():
        given = (((pixels - mean) / std)[None], ids, torch.tensor([len(ids)]), torch.tensor([0]))
        shares = trained.task.net(*given)[0].softmax(0)
    assert answer["class"] == trained.data["classes"][int(shares.argmax())]
    assert answer["probability"] == pytest.approx(float(shares.max()), rel=1e-4)
    assert len(answer["top"]) == 3
    assert out.split()[:4] == ["image", "answer", "probability", "then"]
    assert err == ""


def test_a_folder_of_pictures_and_json_lines(ask: Callable[..., tuple[list, str, str]], photo: Path) -> None:
    (photo.parent / "broken.png").write_text("no picture")
    Image.open(photo).convert("L").resize((50, 40)).save(photo.parent / "other.png")
    with pytest.raises(UserError, match=r"1 of 3 images cannot be read:\n.*broken\.png"):
        ask(f"input={photo.parent}", QUESTION, "format=jsonl")
    (photo.parent / "broken.png").unlink()
    found, out, _ = ask(f"input={photo.parent}", QUESTION, "format=jsonl")
    assert [json.loads(line) for line in out.splitlines()] == found
    assert [Path(one["image"]).name for one in found] == ["other.png", "photo.png"]
    assert {one["question"] for one in found} == {QUESTION.removeprefix("question=")}


def test_what_is_wrong_with_a_question_is_told(ask: Callable[..., tuple[list, str, str]], photo: Path) -> None:
    with pytest.raises(UserError, match="answers questions about pictures, and there is none: give one"):
        ask(f"input={photo}")
    with pytest.raises(UserError, match="question= is empty"):
        ask(f"input={photo}", "question= ")
    _, _, err = ask(f"input={photo}", "question=is the purple cow on the left ?")
    assert err == "note: not in the vocabulary: 'purple', 'cow'\n"


def test_a_question_for_a_network_that_takes_none(finished: Callable[[str], Path], photo: Path) -> None:
    words = (f"run={finished('0')}", "accelerator=cpu", f"input={photo}", "question=what")
    with pytest.raises(UserError, match=r"question= is for networks that answer questions; .* is an ImageClassifier"):
        predict(compose_config(*words, name="predict"))


@pytest.mark.parametrize("words", [("model.net.sees=question",), ("model.net.sees=picture", "cell=gru")])
def test_baselines_and_the_convnet_with_an_mlp_are_trained_and_drawn(tmp_path: Path, words: tuple[str, ...]) -> None:
    train(tiny(tmp_path / "run", *words, "trainer.max_epochs=1", "test=false"))
    assert (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.slow
def test_a_run_that_is_killed_and_resumed_is_the_run_that_never_stopped(tmp_path: Path) -> None:
    """3 batches an epoch; killed after the second batch of the second epoch."""
    words = ("callbacks.checkpoints.every_n_steps=1", "model.net.dropout=0.2", "model.net.every_word=true")
    train(tiny(tmp_path / "whole", *words))
    kill = "+callbacks.kill={_target_:tests.runs.parts.SignalAt,step:5,validating:false}"
    assert in_child(lambda: train(tiny(tmp_path / "run", *words, kill))) == signal.SIGKILL
    train(resumed_config(str(tmp_path / "run"), ["~callbacks.kill"], "outputs"))
    assert_same(outcome(tmp_path / "run"), outcome(tmp_path / "whole"))


@pytest.mark.slow
def test_a_frozen_encoder_of_another_run_stays_bit_for_bit(tmp_path: Path, answerer: Path) -> None:
    words = (f"encoder.run={answerer}", "encoder.frozen=true", "seed=1", "test=false", "default_callbacks=scalars")
    train(tiny(tmp_path / "run", *words))
    before, after = (load_run(str(folder), "outputs").task.net.state_dict() for folder in (answerer, tmp_path / "run"))
    names = [name for name in before if name.startswith("encoder.net.")]
    assert names
    assert all(torch.equal(before[name], after[name]) for name in names)
    assert not torch.equal(before["head.weight"], after["head.weight"])


@pytest.mark.slow
def test_two_processes_train_what_one_trains(
    run_command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """The normalisations' statistics are of each process's own images: the net is one without them."""
    words = [word for word in SMALL if not word.startswith(("net.", "trainer.accelerator"))]
    words += ["net=convnet", "net.channels=[4,6]", "optimizer=sgd", "optimizer.lr=0.1", "trainer=cpu"]
    for name, more in (("one", ["trainer.devices=1"]), ("two", ["trainer.devices=2", "trainer.strategy=ddp"])):
        done = run_command("train", *words, *more, f"folder={tmp_path / name}")
        assert done.returncode == 0, done.stderr
    one, two = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert (two["samples"], two["steps"]) == (one["samples"], one["steps"])
    shown = [name for name in one if name.split("/")[-1].startswith(("loss", "accuracy"))]
    assert {"test/accuracy_relational", "val/accuracy_non_relational", "train/loss"} <= set(shown)
    for name in shown:
        assert two[name] == pytest.approx(one[name], rel=1e-4), name
