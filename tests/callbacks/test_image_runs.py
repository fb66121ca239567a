"""What a real run leaves of its images, compared with what its data and its last checkpoint give."""

import io
import json
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from project.callbacks.codes import table
from project.callbacks.confusion import confusion_picture
from project.callbacks.mistakes import mistaken, most_confident
from project.callbacks.tiles import grid, pixels_of, sized
from project.data.images import ImageDataModule
from project.errors import UserError
from project.runs.building import build_data
from project.runs.trained import Trained, load_run
from project.tasks.classification import confusion_matrix
from project.train import train
from tests.conftest import compose_config
from tests.runs.conftest import TINY, tiny
from tests.sweeps.tensorboard import tensorboard_at

PICTURES = "callbacks=[inputs,filters,mistakes,confusion]"
AUTOENCODER = ("model=autoencoder", "model.net.widths=[4]", "trainer.max_epochs=1", "trainer.accelerator=cpu")
FEW = ("data=shapes", "data.train_images=60", "data.test_images=20", "data.batch_size=16")


def pictures(folder: Path, tag: str) -> dict[int, np.ndarray]:
    """By step, as they are read from the run's event files."""
    events = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload().Images(tag)
    return {event.step: np.asarray(Image.open(io.BytesIO(event.encoded_image_string))) for event in events}


def loaded(folder: Path) -> tuple[Trained, ImageDataModule]:
    trained = load_run(str(folder), "outputs", "last")
    data = build_data(trained.cfg)
    assert isinstance(data, ImageDataModule)
    return trained, data


@torch.inference_mode()
def validated(trained: Trained, data: ImageDataModule) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, labels and images of the whole validation."""
    batches = [(trained.task.predict(images), labels, images) for images, labels in data.val_dataloader()]
    logits, labels, images = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return logits, labels, images


def check_mistakes_and_confusion(folder: Path) -> None:
    trained, data = loaded(folder)
    logits, labels, images = validated(trained, data)
    counts = confusion_matrix(logits.argmax(1), labels, 10).numpy()
    assert np.array_equal(
        pictures(folder, "confusion")[trained.step], np.asarray(confusion_picture(counts, data.classes))
    )
    shares, said, true, worst = most_confident(mistaken(logits, labels, images), 16)
    captions = [
        f"{data.classes[answer]} {share:.0%}\nis {data.classes[label]}"
        for share, answer, label in zip(shares.tolist(), said.tolist(), true.tolist(), strict=True)
        if share > 0
    ]
    tiles = [sized(tile, least=96) for tile in pixels_of(worst, data.mean, data.std)][: len(captions)]
    shown = pictures(folder, "mistakes")[trained.step]
    expected = np.asarray(grid(tiles, 4, captions))
    assert shown.shape == expected.shape
    assert np.abs(shown.astype(int) - expected).mean() < 3  # a JPEG, if it is smaller


@pytest.mark.slow
def test_a_run_shows_its_inputs_mistakes_and_confusion_and_a_resumed_one_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    cfg = tiny(f"folder={folder}", PICTURES, "callbacks.inputs.count=8", "data.flip=true", "data.shift=3")
    train(cfg)
    _, data = loaded(folder)
    images, labels = next(iter(data.train_dataloader()))
    tiles = [sized(tile) for tile in pixels_of(images[:8], data.mean, data.std)]
    captions = [data.classes[label] for label in labels[:8].tolist()]
    assert list(pictures(folder, "inputs")) == [0]
    assert np.array_equal(pictures(folder, "inputs")[0], np.asarray(grid(tiles, 8, captions)))
    assert list(pictures(folder, "filters")) == list(pictures(folder, "confusion")) == [160, 320]
    check_mistakes_and_confusion(folder)
    cfg.resume, cfg.trainer.max_epochs = str(folder), 4
    train(cfg)
    assert list(pictures(folder, "inputs")) == [0]
    assert list(pictures(folder, "confusion")) == [160, 320, 640]  # the 1st, the 2nd, the 4th validation
    check_mistakes_and_confusion(folder)


@pytest.mark.slow
def test_the_default_set_shows_of_each_task_what_fits_it(tmp_path: Path) -> None:
    train(tiny(f"folder={tmp_path / 'classifier'}", "trainer.max_epochs=1"))
    train(compose_config(*AUTOENCODER, *FEW, f"folder={tmp_path / 'autoencoder'}"))
    shown = {
        name: set(EventAccumulator(str(tmp_path / name)).Reload().Tags()["images"])
        for name in ("classifier", "autoencoder")
    }
    assert shown["classifier"] >= {"inputs", "filters", "mistakes", "confusion"}
    assert shown["autoencoder"] >= {"inputs", "filters", "reconstructions"}
    assert not shown["autoencoder"] & {"mistakes", "confusion"}
    assert not (tmp_path / "classifier" / "projector_config.pbtxt").exists()
    assert (tmp_path / "autoencoder" / "projector_config.pbtxt").exists()


@pytest.mark.slow
def test_the_projector_serves_the_last_codes_of_each_run_with_classes_and_thumbnails(tmp_path: Path) -> None:
    for name in ("a", "b"):
        words = ("callbacks.codes.count=10", "trainer.max_epochs=2", f"seed={ord(name)}", "data.val_fraction=0.4")
        train(compose_config(*AUTOENCODER, *FEW, f"folder={tmp_path / name}", *words))
    with tensorboard_at(tmp_path) as address:

        def get(path: str) -> bytes:
            return urllib.request.urlopen(f"{address}/data/plugin/projector/{path}", timeout=30).read()

        for _ in range(2):  # the first one wakes it up
            runs = json.loads(get("runs"))
        assert sorted(runs) == ["a", "b"]
        for name in runs:
            trained, data = loaded(tmp_path / name)
            ((images, labels),) = data.examples("val", 10)
            with torch.inference_mode():
                codes = trained.task.net.encode(images)  # type: ignore[operator,union-attr]
            (embedding,) = json.loads(get(f"info?run={name}"))["embeddings"]
            assert embedding["tensorShape"] == [10, 4]
            served = np.frombuffer(get(f"tensor?run={name}&name=codes"), np.float32).reshape(10, 4)
            assert served == pytest.approx(np.array([row.split("\t") for row in table(codes).split("\n")[:-1]], float))
            classes = get(f"metadata?run={name}&name=codes").decode().splitlines()
            assert classes == [data.classes[label] for label in labels.tolist()]
            sprite = np.asarray(Image.open(io.BytesIO(get(f"sprite_image?run={name}&name=codes"))))
            assert sprite.shape == (128, 128, 3)
            assert np.array_equal(sprite[:32, 32:64], pixels_of(images, data.mean, data.std)[1])


@pytest.mark.slow
def test_layers_and_units_that_are_not_there_are_told_with_those_that_are(tmp_path: Path) -> None:
    folder = f"folder={tmp_path / 'run'}"
    for words, message in (
        (
            ("callbacks=[activations]", "callbacks.activations.layers=[nothing]"),
            "nothing is no layer .*layers.0",
        ),
        (("callbacks=[dreams]", "callbacks.dreams.layer=nothing"), "nothing is no layer .*layers.0"),
        (("callbacks=[dreams]", "callbacks.dreams.units=[3,10]"), "must be from 0 to 9 here, got 10"),
        (("callbacks=[dreams]", "callbacks.dreams.layer=layers.0", "callbacks.dreams.units=[4]"), "0 to 3 here, got 4"),
    ):
        with pytest.raises(UserError, match=message):
            train(tiny(folder, *words))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_processes_count_all_images_and_find_the_worst_of_all(
    run_command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    words: list[Any] = [word for word in TINY if not word.startswith(("trainer.accelerator", "model.net"))]
    more = ["trainer=cpu", "trainer.max_epochs=2", "trainer.devices=2", "trainer.strategy=ddp"]
    done = run_command("train", *words, *more, "callbacks=[saliency,activations,dreams]", f"folder={tmp_path / 'two'}")
    assert done.returncode == 0, done.stderr
    check_mistakes_and_confusion(tmp_path / "two")
    assert len(pictures(tmp_path / "two", "saliency")) == 2
