"""A captioner that is trained, resumed, tested, asked for captions and shown in TensorBoard."""

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from sacrebleu import corpus_bleu
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from project.data.scenes import Scenes
from project.errors import UserError
from project.evaluate import evaluate
from project.predict import predict
from project.runs.resuming import resumed_config
from project.runs.trained import load_run
from project.train import train
from tests.conftest import compose_config
from tests.runs.captions import tiny_captions
from tests.runs.test_resume import assert_same, in_child, outcome

SCORES = {*(f"bleu_{n}" for n in (1, 2, 3, 4)), "loss", "perplexity", "true_captions"}


@pytest.fixture(scope="session")
def captioner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder; it has learned little, and tests only read it."""
    folder = tmp_path_factory.mktemp("captioner") / "run"
    train(tiny_captions(folder))
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of three pictures of a test part, larger than they were, and a file that is none."""
    data = Scenes(train_images=60, val_images=12, test_images=8, image_size=48)
    data.setup()
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(data.parts["test"].images[number]).save(folder / f"{number}.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def ask(captioner: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[list, str]]:
    """`ask("input=photo.png")`: what predict returns, and what it printed."""

    def prediction(*words: str) -> tuple[list, str]:
        capsys.readouterr()
        found = predict(compose_config(f"run={captioner}", "accelerator=cpu", *words, name="predict"))
        return found, capsys.readouterr().out

    return prediction


@pytest.mark.slow
def test_a_training_reports_its_scores_and_shows_captions(captioner: Path) -> None:
    metrics = json.loads((captioner / "metrics.json").read_text())
    assert {f"{stage}/{name}" for stage in ("val", "test") for name in SCORES} <= set(metrics)
    assert metrics["monitor"] == "val/true_captions"
    assert metrics["samples"] == 2 * 60  # images
    events = EventAccumulator(str(captioner)).Reload()
    assert {"captions", "caption_mistakes"} <= set(events.Tags()["images"])
    for tag in ("captions", "caption_mistakes"):
        assert all(len(image.encoded_image_string) < 150_000 for image in events.Images(tag))
    text = events.Tensors("captions/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert text.count("    caption    ") == 3
    assert "    reference  a" in text or "    reference  there" in text
    assert "BLEU: nrefs:" in (captioner / "train.log").read_text()


def test_an_evaluation_agrees_with_the_test_after_training(captioner: Path) -> None:
    (found,) = evaluate(compose_config(f"run={captioner}", "accelerator=cpu", name="evaluate")).values()
    trained = json.loads((captioner / "metrics.json").read_text())
    assert found == {f"test/{name}": pytest.approx(trained[f"test/{name}"], rel=1e-5) for name in SCORES}
    written = (captioner / "evaluation" / "captions.txt").read_text(encoding="utf-8").splitlines()
    data = Scenes(train_images=60, val_images=12, test_images=8, image_size=24, min_count=1)
    data.setup()
    references = data.references("test")
    assert len(written) == len(references) == 8
    streams = [[own[place] if place < len(own) else None for own in references] for place in range(5)]
    whole = corpus_bleu(written, streams, lowercase=True, force=True)  # type: ignore[arg-type]
    assert whole.score == pytest.approx(found["test/bleu_4"])
    true = [data.faults("test", place, text) == 0 for place, text in enumerate(written)]
    assert sum(true) / 8 == pytest.approx(found["test/true_captions"])


@pytest.mark.slow
def test_captions_of_pictures_of_one_s_own(ask: Callable, captioner: Path, pictures: Path) -> None:
    found, out = ask(f"input={pictures}", "batch_size=2")
    assert [Path(one["image"]).name for one in found] == ["0.png", "1.png", "2.png"]
    assert out == "".join(f"{one['caption']}\n" for one in found)
    (alone,), out = ask(f"input={pictures / '1.png'}", "format=jsonl")
    assert json.loads(out) == alone
    assert alone["caption"] == found[1]["caption"]
    assert alone["score"] < 0
    _, out = ask(f"input={pictures / '1.png'}", "format=table")
    assert out.splitlines()[0].split() == ["image", "caption"]
    trained = load_run(str(captioner), "outputs")
    (greedy,), _ = ask(f"input={pictures / '1.png'}", "beam_size=1")
    data = Scenes(train_images=60, val_images=12, test_images=8, image_size=24, min_count=1)
    data.setup()
    assert trained.data["target"] == data.facts["target"]
    assert set(greedy["caption"].split()) <= set(data.target.tokens)


@pytest.mark.slow
def test_what_cannot_be_asked(ask: Callable, pictures: Path) -> None:
    with pytest.raises(UserError, match="beam_size must be a whole number of at least 1"):
        ask(f"input={pictures}", "beam_size=0")
    with pytest.raises(UserError, match="format=html is unknown: choose lines or table or jsonl"):
        ask(f"input={pictures}", "format=html")
    with pytest.raises(UserError, match="does not exist: name an image or a folder of images"):
        ask(f"input={pictures / 'none.png'}")
    (pictures / "3.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"1 of 4 images cannot be read:\n.*3\.png"):
        ask(f"input={pictures}")


@pytest.mark.slow
def test_a_run_that_is_killed_and_resumed_is_the_run_that_never_stopped(tmp_path: Path) -> None:
    words = ("callbacks.checkpoints.every_n_steps=1", "default_callbacks=scalars", "model.doubly_stochastic=0.1")
    train(tiny_captions(tmp_path / "whole", *words))
    kill = "+callbacks.kill={_target_:tests.runs.parts.SignalAt,step:3,validating:false}"
    assert in_child(lambda: train(tiny_captions(tmp_path / "run", *words, kill))) == signal.SIGKILL
    train(resumed_config(str(tmp_path / "run"), ["~callbacks.kill"], "outputs"))
    assert_same(outcome(tmp_path / "run"), outcome(tmp_path / "whole"))


@pytest.mark.slow
def test_a_frozen_encoder_keeps_the_bits_of_the_run_that_it_comes_from(captioner: Path, tmp_path: Path) -> None:
    """Weights and the statistics of its normalisations; the captions of others start with them and go on."""
    words = ("default_callbacks=scalars", f"encoder.run={captioner}", "trainer.max_epochs=1", "test=false", "cell=gru")
    before = load_run(str(captioner), "outputs").task.net.encoder.net.state_dict()  # type: ignore[union-attr, operator]
    for name, frozen in (("frozen", True), ("free", False)):
        train(tiny_captions(tmp_path / name, *words, f"encoder.frozen={str(frozen).lower()}"))
        after = load_run(str(tmp_path / name), "outputs").task.net.encoder.net.state_dict()  # type: ignore[union-attr, operator]
        assert after.keys() == before.keys()
        same = [torch.equal(after[key], before[key]) for key in before]
        assert all(same) if frozen else not any(same[:5])


@pytest.mark.slow
def test_an_encoder_that_does_not_fit_is_refused(captioner: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not fit this StridedConvNet: .* expected \(5, 3, 3, 3\)"):
        train(tiny_captions(tmp_path / "run", f"encoder.run={captioner}", "net.channels=[5,6,6,8]"))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_without_attention(tmp_path: Path) -> None:
    train(tiny_captions(tmp_path / "run", "model.net.attention=false", "cell=mut1", "trainer.max_epochs=1"))
    assert {"captions", "caption_mistakes"} <= set(EventAccumulator(str(tmp_path / "run")).Reload().Tags()["images"])


@pytest.mark.slow
def test_two_processes_train_what_one_trains(
    run_command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """The normalisations' statistics are of each process's own images: the net is one without them."""
    words = ["model=captioner", "net=convnet", "net.channels=[4,6]", "data.train_images=60", "data.val_images=12"]
    words += ["data.test_images=8", "data.image_size=24", "data.batch_size=12", "data.eval_batch_size=5", "trainer=cpu"]
    words += ["model.net.hidden_size=12", "model.max_length=12", "model.doubly_stochastic=0.1", "trainer.max_epochs=1"]
    words += ["optimizer=sgd", "optimizer.lr=0.1"]
    for name, more in (("one", ["trainer.devices=1"]), ("two", ["trainer.devices=2", "trainer.strategy=ddp"])):
        done = run_command("train", *words, *more, f"folder={tmp_path / name}")
        assert done.returncode == 0, done.stderr
    one, two = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert (two["samples"], two["steps"]) == (one["samples"], one["steps"])
    for name in ("train/loss", *(f"{stage}/{score}" for stage in ("val", "test") for score in SCORES)):
        assert two[name] == pytest.approx(one[name], rel=1e-4), name
