"""Pictures that are made by trained runs: dreams of their units, and one picture in the style of another."""

import hashlib
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from project.dream import dream
from project.errors import Stopped, UserError
from project.nets import descent
from project.nets.dreaming import Dreamer
from project.nets.resnet import ResNet
from project.runs import torchvision_weights
from project.runs.pictures import watched
from project.runs.trained import load_run
from project.style import style
from project.train import train
from tests.conftest import compose_config
from tests.runs.conftest import TINY

Finished = Callable[..., Path]


@pytest.fixture(scope="module")
def convnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a ConvNet that was trained for a moment."""
    folder = tmp_path_factory.mktemp("convnet") / "run"
    words = [word for word in TINY if not word.startswith(("model.net", "trainer.max"))]
    train(compose_config(*words, "trainer.max_epochs=1", "default_callbacks=none", f"folder={folder}"))
    return folder


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of several kinds and sizes."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(colour).save(folder / "colour.png")
    Image.fromarray(np.dstack([colour, colour[..., 0]])).save(folder / "alpha.png")
    Image.fromarray(rng.integers(0, 65536, (50, 34), np.uint16)).save(folder / "grey16.png")
    Image.fromarray(np.kron(colour, np.ones((20, 20, 1), np.uint8))).save(folder / "large.jpg")
    Image.fromarray(colour[:4, :4]).save(folder / "small.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def dreamed(*words: str) -> Path:
    path = dream(compose_config("accelerator=cpu", "steps=3", *words, name="dream"))
    assert path is not None
    return path


def styled(*words: str) -> Path:
    return style(compose_config("accelerator=cpu", "steps=3", *words, name="style"))


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        image.load()
        assert image.mode == "RGB"
        return image.size


@pytest.mark.slow
def test_all_classes_are_dreamed_of_and_shown_in_tensorboard(
    finished: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished("7")
    path = dreamed(f"run={run}")
    assert path.parent == run / "dreams"
    assert size(path)[0] > 5 * 96
    said = capsys.readouterr().out
    assert "step    3/3  activation " in said
    assert all(f"\n{name} " in said for name in ("disc", "crescent"))
    again = dreamed(f"run={run}")
    assert again != path
    assert again.read_bytes() == path.read_bytes()
    assert dreamed(f"run={run}", "seed=1").read_bytes() != path.read_bytes()
    assert [tag for tag in EventAccumulator(str(run)).Reload().Tags()["images"] if tag.startswith("dream/")]


def test_a_class_is_named_or_numbered_and_the_picture_excites_it(
    convnet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [
        dreamed(f"run={convnet}", f"class={name}", "steps=30", f"out={tmp_path / name}.png") for name in ("square", "2")
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert size(paths[0]) == (256, 256)
    (said, _) = re.findall(r"^square +(\S+), (?:\S+)%$", capsys.readouterr().out, re.MULTILINE)
    trained = load_run(str(convnet), "outputs")
    pixels = torch.from_numpy(np.array(Image.open(paths[0]))[::8, ::8]).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(trained.data[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        before, after = (trained.task.net(image)[0, 2] for image in (torch.zeros(1, 3, 32, 32), (pixels - mean) / std))
    assert after.item() == pytest.approx(float(said), abs=0.01)
    assert after > before + 0.03


def test_layers_are_dreamed_of_at_any_size(convnet: Path, drawn: Path, tmp_path: Path) -> None:
    words = (f"run={convnet}", "layer=features.3")
    assert size(dreamed(*words, "channel=5", f"out={tmp_path / 'one.png'}")) == (288, 288)
    assert size(dreamed(*words, "channel=5", "size=300", f"out={tmp_path / 'large.png'}")) == (300, 300)
    assert size(dreamed(*words, "channel=[0,1,2]", f"out={tmp_path / 'three.png'}"))[0] == 3 * 100 + 4
    whole = dreamed(f"run={convnet}", f"input={drawn / 'large.jpg'}", f"out={tmp_path / 'whole.png'}")
    assert size(whole) == (256, 171)


def test_units_are_listed(convnet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dream(compose_config(f"run={convnet}", "list=true", name="dream")) is None
    said = capsys.readouterr().out
    assert "classes: 0 disc, 1 ring" in said
    assert "features.3" in said
    assert not (convnet / "dreams").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["class=squar"], "class=squar is none of the run's classes. Did you mean square.*They are: disc"),
        (["class=10"], "class=10 is none of the run's classes"),
        (["class=[]"], r"class=\[\] names none"),
        (["class=disc", "layer=features.0"], "choose one"),
        (["channel=1"], "of which layer"),
        (["layer=feature.3"], "layer=feature.3 is no layer of ConvNet. Did you mean features.3"),
        (["layer=features.3", "channel=16"], "the layer's channels are 0 to 15"),
        (["size=64"], "ConvNet takes no picture of 64x64 pixels, .*its classes; it was trained on 32x32"),
        (["layer=features.3", "size=10"], "takes no picture of 5x5 pixels, .*features.3"),
        (["input=nowhere.png"], "no image nowhere.png"),
        (["steps=0"], "steps must be a whole number of at least 1"),
        (["blur=0.5"], "blur must be from 0 to 1/3, got 0.5"),
        (["rate=0"], "rate must be positive"),
        (["octaves=1.5"], "octaves must be a whole number"),
        (["size=true"], "size must be a whole number"),
        (["out=dream.jpg"], "must end in .png"),
        (["out=nowhere/dream.png"], "there is no folder"),
        (["run=nowhere"], "nowhere does not exist"),
    ],
)
def test_mistakes_in_dreams(
    convnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        dreamed(f"run={convnet}", *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["colour.png", "alpha.png", "grey16.png", "large.jpg"])
def test_pictures_of_any_kind_are_painted(convnet: Path, drawn: Path, tmp_path: Path, name: str) -> None:
    path = styled(f"content={drawn / name}", f"style={drawn / 'colour.png'}", f"run={convnet}", f"out={tmp_path}/a.png")
    wide, high = Image.open(drawn / name).size
    assert size(path) == ((256, 171) if name == "large.jpg" else (wide, high))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_the_losses_fall_and_are_told(convnet: Path, drawn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (f"content={drawn / 'colour.png'}", f"style={drawn / 'grey16.png'}", f"run={convnet}")
    path = styled(*words, "steps=10")
    assert path == convnet / "styles" / "colour-grey16.png"
    first, *told = capsys.readouterr().out.splitlines()
    assert first == "content of features.4; style of features.1, features.4"
    totals = [float(line.rsplit(" ", 1)[1]) for line in told if line.startswith("step ")]
    assert len(totals) == 10
    assert totals[-1] < totals[0]
    assert "style/colour-grey16" in EventAccumulator(str(convnet)).Reload().Tags()["images"]
    assert styled(*words, "start=noise", "method=adam", "pooling=average", "size=24").name == "colour-grey16-1.png"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["style_layers=[features.1,feature.2]"], "style_layers=feature.2 is no layer of ConvNet. Did you mean"),
        (["content_layers=[]"], r"content_layers=\[\] names no layer"),
        (["content={drawn}/nowhere.png"], "no image .*nowhere.png"),
        (["style={drawn}/broken.png"], "broken.png cannot be read as an image"),
        (["content={drawn}/small.png"], "ConvNet does not take a picture of 4x4 pixels"),
        (["beta=-1"], "beta must be a number of at least 0, got -1"),
        (["start=white"], "start must be content or noise, got white"),
        (["pooling=none"], "pooling must be max or average"),
        (["method=sgd"], "method must be lbfgs or adam, got sgd"),
        (["weights=torchvision:vgg19"], "and not both"),
        (["run=null"], "whose features"),
        (["run=null", "weights=torchvision:vgg12"], "weights=torchvision:vgg12 is unknown: choose .*vgg19"),
    ],
)
def test_mistakes_in_styles(convnet: Path, drawn: Path, words: list[str], message: str) -> None:
    given = [f"content={drawn / 'colour.png'}", f"style={drawn / 'colour.png'}", f"run={convnet}"]
    with pytest.raises(UserError, match=message):
        styled(*given, *(word.format(drawn=drawn) for word in words))


def test_a_network_without_convolutions_or_poolings_is_refused(finished: Finished, drawn: Path, tmp_path: Path) -> None:
    words = [word for word in TINY if not word.startswith(("model", "trainer.max"))]
    words += ["model=mlp", "model.net.hidden=[8]", "trainer.max_epochs=1", "default_callbacks=none"]
    train(compose_config(*words, f"folder={tmp_path / 'mlp'}"))
    given = [f"content={drawn / 'colour.png'}", f"style={drawn / 'colour.png'}"]
    with pytest.raises(UserError, match=r"the MLP of .* has no convolutions"):
        styled(*given, f"run={tmp_path / 'mlp'}")
    with pytest.raises(UserError, match=r"pooling=average: the Small of .* has no max pooling"):
        styled(*given, f"run={finished()}", "pooling=average")


def stopping(function: Callable[..., Any], at: int) -> Callable[..., Any]:
    """`function`, whose call number `at` begins with Ctrl-C."""
    calls = []

    def called(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == at:
            os.kill(os.getpid(), signal.SIGINT)
        return function(*args, **options)

    return called


def test_a_stop_writes_what_there_is(
    convnet: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Dreamer, "_step", stopping(Dreamer._step, 2))
    with pytest.raises(Stopped, match=r"stopped by SIGINT after 2 of 50 steps; the picture so far: .*a.png") as stop:
        dreamed(f"run={convnet}", "steps=50", f"out={tmp_path / 'a.png'}")
    assert stop.value.signal == signal.SIGINT
    assert size(tmp_path / "a.png")[0] > 256
    monkeypatch.setattr(descent, "_measured", stopping(descent._measured, 4))
    with pytest.raises(Stopped, match=r"of 50 steps; the picture so far: .*b.png"):
        styled(
            f"content={drawn / 'colour.png'}",
            f"style={drawn / 'grey16.png'}",
            f"run={convnet}",
            "steps=50",
            f"out={tmp_path / 'b.png'}",
        )
    assert size(tmp_path / "b.png") == (60, 40)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_a_second_stop_does_not_wait() -> None:
    def steps() -> Iterator[int]:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
        yield 1

    with pytest.raises(Stopped, match="stopped at once by SIGTERM"):
        watched(steps(), 3, str)


@pytest.mark.slow
def test_published_weights_are_verified_and_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn: Path) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    net = ResNet((3, 224, 224), 1000, 18)
    torch.save(net.state_dict(), tmp_path / "made.pth")
    digest = hashlib.sha256((tmp_path / "made.pth").read_bytes()).hexdigest()[:8]
    (tmp_path / "made.pth").rename(tmp_path / f"resnet18-{digest}.pth")
    url = (tmp_path / f"resnet18-{digest}.pth").as_uri()
    _, mean, std = torchvision_weights.published("resnet18")
    assert (mean, std) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    monkeypatch.setattr(torchvision_weights, "published", lambda name: (url, mean, std))
    found, *_ = torchvision_weights.published_network("torchvision:resnet18")
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in found.state_dict().items())
    kept = tmp_path / "hub" / "checkpoints" / f"resnet18-{digest}.pth"
    words = (f"content={drawn / 'colour.png'}", f"style={drawn / 'grey16.png'}", "weights=torchvision:resnet18")
    path = styled(*words, "steps=1", "size=32", f"outputs={tmp_path / 'outputs'}")
    assert path == tmp_path / "outputs" / "styles" / "colour-grey16.png"
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"is not the published file \(SHA-256 .*\): remove it"):
        torchvision_weights.published_network("torchvision:resnet18")


def test_texts_dream_of_nothing(tmp_path: Path) -> None:
    words = ["model=text_classifier", "data=opinions", "data.train_sentences=100", "data.test_sentences=20"]
    words += ["trainer=smoke", "trainer.accelerator=cpu", "default_callbacks=none", f"folder={tmp_path / 'run'}"]
    train(compose_config(*words))
    with pytest.raises(UserError, match="is a TextClassification, whose network sees no images"):
        dreamed(f"run={tmp_path / 'run'}")
    assert json.loads((tmp_path / "run" / "data.json").read_text())["classes"]
