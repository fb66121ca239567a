"""Points and dense labels from the command's functions: trained, resumed, evaluated, asked about pictures."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image

from project.callbacks.marks import class_colours, coloured, mark
from project.data.shape_corners import CORNERS, draw_corners
from project.data.shape_masks import CLASSES, draw_masks
from project.errors import UserError
from project.evaluate import evaluate
from project.predict import predict
from project.runs.mask_prediction import likeliest_classes
from project.runs.point_prediction import in_picture
from project.runs.trained import load_run
from project.train import train
from tests.conftest import compose_config
from tests.runs.test_resume import assert_same, in_child, outcome

TINY = {
    "key_points": ("data.train_images=70", "data.test_images=20", "optimizer.lr=0.003"),
    "segmenter": ("data.train_images=70", "data.test_images=10", "data.side=32", "optimizer.lr=0.003"),
}


def tiny(model: str, folder: Path, *words: str) -> DictConfig:
    common = ("net=convnet", "data.batch_size=16", "data.eval_batch_size=8", "trainer.max_epochs=2")
    more = ("trainer.accelerator=cpu", "trainer.log_every_n_steps=2", f"folder={folder}")
    return compose_config(f"model={model}", *TINY[model], *common, *more, *words)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    known: dict[str, Path] = {}

    def run(model: str) -> Path:
        if model not in known:
            known[model] = tmp_path_factory.mktemp("trained") / model
            train(tiny(model, known[model]))
        return known[model]

    return run


def prediction(*words: str) -> list:
    return predict(compose_config("accelerator=cpu", *words, name="predict"))


@pytest.mark.slow
@pytest.mark.parametrize("model", TINY)
def test_a_killed_run_goes_on_bit_for_bit(trained: Callable[[str], Path], tmp_path: Path, model: str) -> None:
    words = ("default_callbacks=scalars", "callbacks.checkpoints.every_n_steps=2")
    kill = ("+callbacks.stop._target_=tests.runs.parts.SignalAt", "+callbacks.stop.step=5")
    train(tiny(model, tmp_path / "whole", *words))
    assert in_child(lambda: train(tiny(model, tmp_path / "killed", *words, *kill))) == 9
    cfg = tiny(model, tmp_path / "killed", *words)
    cfg.resume = str(tmp_path / "killed")
    train(cfg)
    assert_same(outcome(tmp_path / "whole"), outcome(tmp_path / "killed"))


@pytest.mark.slow
@pytest.mark.parametrize("model", TINY)
def test_an_evaluation_agrees_with_the_test_and_its_table(
    trained: Callable[[str], Path], model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained(model)
    (found,) = evaluate(compose_config("accelerator=cpu", f"run={folder}", name="evaluate")).values()
    metrics = json.loads((folder / "metrics.json").read_text())
    tested = {name: value for name, value in metrics.items() if name.startswith("test/")}
    assert found == pytest.approx(tested, rel=1e-5)
    written = json.loads((folder / "evaluation" / "metrics.json").read_text())
    if model == "key_points":
        rows = written["points"]
        assert [row["point"] for row in rows] == list(CORNERS)
        for name in ("pck_0.1", "pck_0.2", "error"):  # all points are known in every image
            assert np.mean([row[name] for row in rows]) == pytest.approx(found[f"test/{name}"], abs=1e-6)
    else:
        rows = written["classes"]
        assert sum(row["pixels"] for row in rows) == 10 * 32 * 32
        shares = [row["iou"] for row in rows if row["iou"] is not None]
        assert np.mean(shares) == pytest.approx(found["test/mean_iou"], abs=1e-6)
        right = sum(row["recall"] * row["pixels"] for row in rows if row["recall"] is not None)
        assert right / (10 * 32 * 32) == pytest.approx(found["test/accuracy"])
    assert rows[0]["point" if model == "key_points" else "class"] in capsys.readouterr().out


@pytest.mark.slow
def test_points_are_in_pixels_of_the_picture(
    trained: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, split = trained("key_points"), draw_corners(2, seed=5)
    (tmp_path / "in" / "deep").mkdir(parents=True)
    small = Image.fromarray(split.images[0])
    small.save(tmp_path / "in" / "a.png")
    small.resize((320, 320), Image.Resampling.NEAREST).save(tmp_path / "in" / "deep" / "b.png")
    found = prediction(f"run={run}", f"input={tmp_path / 'in'}", f"out={tmp_path / 'out'}", "format=jsonl")
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == found
    task = load_run(str(run), "outputs").task
    data = json.loads((run / "data.json").read_text())
    image = (torch.from_numpy(split.images[:1]).float() / 255 - torch.tensor(data["mean"])) / torch.tensor(data["std"])
    with torch.inference_mode():
        expected = task.predict(image.permute(0, 3, 1, 2))[0].tolist()
    first, second = ([(point["x"], point["y"]) for point in result["points"]] for result in found)
    assert np.allclose(first, expected, atol=1e-3)
    assert np.allclose(second, (np.array(expected) + 0.5) * 10 - 0.5, atol=0.5)  # the same picture, enlarged
    assert [point["point"] for point in found[0]["points"]] == list(CORNERS)
    drawn = Image.open(tmp_path / "out" / "deep" / "b.png")
    assert found[1]["drawn"] == str(tmp_path / "out" / "deep" / "b.png")
    assert drawn.size == (320, 320)
    assert prediction(f"run={run}", f"input={tmp_path / 'in' / 'a.png'}")[0]["points"] == found[0]["points"]
    assert "left wing" in capsys.readouterr().out


def test_points_of_a_wide_picture_are_moved_back() -> None:
    # 60 x 40 made 20 x 20: the columns 10 to 50 stay, two pixels each
    found = in_picture(np.array([[0.0, 0.0], [19.0, 19.0]]), (60, 40), 20, 20)
    assert found.tolist() == [[10.5, 0.5], [48.5, 38.5]]


@pytest.mark.slow
def test_a_mask_has_its_picture_s_size_and_the_classes_numbers(
    trained: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, split = trained("segmenter"), draw_masks(2, 5, 32)
    Image.fromarray(split.images[0]).save(tmp_path / "a.jpg", quality=95)
    Image.fromarray(split.images[1]).resize((50, 70)).save(tmp_path / "b.png")
    (found,) = prediction(f"run={run}", f"input={tmp_path / 'b.png'}", f"out={tmp_path / 'new' / 'mask.png'}")
    mask = Image.open(tmp_path / "new" / "mask.png")
    assert (mask.mode, mask.size) == ("P", (50, 70))
    shares = np.bincount(np.asarray(mask).ravel(), minlength=len(CLASSES)) / 3500
    assert found["classes"][0]["share"] == max(shares)
    assert {entry["class"]: entry["share"] for entry in found["classes"]} == {
        CLASSES[k]: share for k, share in enumerate(shares.tolist()) if share
    }
    assert np.array_equal(np.asarray(mask.convert("RGB")), class_colours(len(CLASSES))[np.asarray(mask)])
    assert found["classes"][0]["class"] in capsys.readouterr().out
    (found,) = prediction(f"run={run}", f"input={tmp_path / 'a.jpg'}", "format=jsonl")
    assert json.loads(capsys.readouterr().out) == found
    assert "mask" not in found
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "b.png", "new"]


@pytest.mark.slow
def test_inputs_are_never_overwritten(trained: Callable[[str], Path], tmp_path: Path) -> None:
    run = trained("segmenter")
    (tmp_path / "in").mkdir()
    for name in ("a.png", "a.jpg"):
        Image.new("RGB", (32, 32)).save(tmp_path / "in" / name)
    one, all_ = f"input={tmp_path / 'in' / 'a.png'}", f"input={tmp_path / 'in'}"
    for given, out, message in (
        (one, tmp_path / "in", "would overwrite the image"),
        (one, tmp_path / "in" / "a.png", "would overwrite the image"),
        (all_, tmp_path / "in" / "masks", "would be an input the next time"),
        (all_, tmp_path / "out", "would both be written to"),
        (all_, tmp_path / "out.png", "is one file"),
        (one, tmp_path / "in" / "a.jpg", "is a file"),
    ):
        with pytest.raises(UserError, match=message):
            prediction(f"run={run}", given, f"out={out}")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.jpg", "a.png", "in"]


@pytest.mark.slow
def test_images_that_cannot_be_read_are_named_after_the_others(trained: Callable[[str], Path], tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no")
    for model in TINY:
        with pytest.raises(UserError, match=r"1 of 2 images cannot be read:\n.*b.png"):
            prediction(f"run={trained(model)}", f"input={tmp_path}")


@pytest.mark.slow
def test_data_of_another_kind_are_refused_in_a_line(tmp_path: Path) -> None:
    for model, data, lacking in (
        ("key_points", "shape_masks", "num_points"),
        ("segmenter", "shapes", "pixel_classes"),
        ("convnet", "shape_masks", "num_classes"),
    ):
        words = (f"model={model}", f"data={data}", "data.train_images=100", "data.test_images=10")
        with pytest.raises(UserError, match=rf"model={model} is for data with {lacking}; these have"):
            train(compose_config(*words, "trainer.accelerator=cpu", f"folder={tmp_path / 'run'}"))
    assert not (tmp_path / "run").exists()


def test_likeliest_classes_are_those_of_the_interpolated_logits() -> None:
    logits = torch.randn(5, 4, 6, generator=torch.Generator().manual_seed(0))
    whole = torch.nn.functional.interpolate(logits[None], size=(9, 14), mode="bilinear")[0].argmax(0)
    assert torch.equal(likeliest_classes(logits, 9, 14).long(), whole)
    assert torch.equal(likeliest_classes(logits, 4, 6).long(), logits.argmax(0))


def test_classes_and_points_have_colours_of_their_own() -> None:
    colours = class_colours(30)
    assert len({tuple(colour) for colour in colours.tolist()}) == 30
    assert colours[0].tolist() == [0, 0, 0]
    assert coloured(np.array([[0, 1], [255, 7]], np.uint8), 3)[1].tolist() == [[255, 255, 255]] * 2
    picture = Image.new("RGB", (20, 20), (128, 128, 128))
    mark(picture, [(5, 5), (math.nan, 3.0), (14, 14)], size=3)
    pixels = np.asarray(picture)
    assert pixels[5, 5].tolist() == colours[1].tolist()
    assert pixels[14, 14].tolist() == colours[3].tolist()
    assert (pixels[:, 0] == 128).all()  # of the one that is not known there is no mark
