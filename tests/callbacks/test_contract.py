"""Every callback that draws goes through the same: it changes no bit of a run, draws at its time, and tells misfits."""

from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from project.callbacks.checkpoint_files import load_checkpoint
from project.callbacks.drawing import Drawing
from project.errors import UserError
from project.runs.building import build
from project.train import train
from tests.conftest import choices, compose_config
from tests.runs.captions import tiny_captions
from tests.runs.conftest import tiny
from tests.runs.text import tiny_opinions, tiny_text

# the family of the tasks that it shows something of
TEXT = ("samples", "passage", "cells", "gradient_flow")
SENTENCES = ("text_mistakes",)
PAIRS = ("translations",)
QUESTIONS = ("answers",)
CAPTIONS = ("captions", "caption_mistakes")
VIDEOS = ("frames",)
AUTOENCODERS = ("reconstructions", "codes")
TARGETS = ("key_points", "masks")  # each of the task in which it draws
NOT_OF_CLASSIFIERS = (*TEXT, *PAIRS, *QUESTIONS, *CAPTIONS, *SENTENCES, *VIDEOS, "reconstructions")
IMAGES = "an image classifier"
ALL = ("network",)  # fits whatever is trained
AT_THE_ENDS = ("about", "hparams")  # of any run: they write when it begins and when it ends


def drawings() -> list[str]:
    """The members of `conf/callbacks` that draw."""
    found = []
    for name, node in compose_config(f"callbacks=[{','.join(choices('callbacks'))}]").callbacks.items():
        if str(node._target_).startswith("project.") and isinstance(build(node), Drawing):
            found.append(name)
    return found


def run(folder: Path, name: str, *words: str) -> dict[str, object]:
    """The last checkpoint of a run of two epochs in `folder`, of the task that `name` fits."""
    if name in TEXT:
        train(tiny_text(folder, "default_callbacks=scalars", *words))
    elif name in PAIRS:
        pairs = ("data=spelled_numbers", "data.train_pairs=64", "data.test_pairs=20", "data.batch_size=16")
        small = ("model=translator", "model.net.hidden_size=8", "trainer.max_epochs=2", "trainer.accelerator=cpu")
        train(compose_config(*small, *pairs, f"folder={folder / 'run'}", "default_callbacks=scalars", *words))
    elif name in QUESTIONS:
        pictures = ("data.train_images=24", "data.test_images=4", "data.image_size=32", "data.val_fraction=0.2")
        small = ("model=vqa", "data.batch_size=8", "model.net.hidden_size=8", "trainer.max_epochs=2")
        more = ("trainer.accelerator=cpu", f"folder={folder / 'run'}", "default_callbacks=scalars", "test=false")
        train(compose_config(*small, *pictures, *more, *words))
    elif name in CAPTIONS:
        train(tiny_captions(folder / "run", "test=false", "default_callbacks=scalars", *words))
    elif name in VIDEOS:
        videos = ("data=moving_shapes", "data.train_videos=40", "data.test_videos=10", "data.batch_size=8")
        small = ("model=frame_classifier", "model.net.hidden_size=8", "trainer.max_epochs=2", "trainer.accelerator=cpu")
        train(compose_config(*small, *videos, f"folder={folder / 'run'}", "default_callbacks=scalars", *words))
    elif name in SENTENCES:
        train(tiny_opinions(folder, "default_callbacks=scalars", *words))
    elif name in AUTOENCODERS:
        images = ("data=shapes", "data.train_images=60", "data.test_images=20", "data.batch_size=16")
        small = ("model=autoencoder", "model.net.widths=[4]", "trainer.max_epochs=2", "trainer.accelerator=cpu")
        train(compose_config(*small, *images, f"folder={folder / 'run'}", "default_callbacks=scalars", *words))
    elif name in TARGETS:
        model, data = {"key_points": ("key_points", "shape_corners"), "masks": ("segmenter", "shape_masks")}[name]
        images = (f"data={data}", "data.train_images=60", "data.test_images=20", "data.batch_size=16")
        small = (f"model={model}", "net=convnet", "trainer.max_epochs=2", "trainer.accelerator=cpu")
        train(compose_config(*small, *images, f"folder={folder / 'run'}", "default_callbacks=scalars", *words))
    else:
        train(tiny(f"folder={folder / 'run'}", "default_callbacks=scalars", *words))
    return load_checkpoint(folder / "run" / "checkpoints" / "last.ckpt")


def shown(folder: Path) -> set[str]:
    """The tags of a run's event files, and what it has for the Projector."""
    names = EventAccumulator(str(folder)).Reload().Tags().values()
    tags = {tag for own in names if isinstance(own, list) for tag in own}
    return tags | {path.name for path in folder.glob("projector_config.pbtxt")}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*drawings(), *AT_THE_ENDS])
def test_a_run_is_the_same_with_and_without_and_something_is_drawn(tmp_path: Path, name: str) -> None:
    without, with_ = run(tmp_path / "without", name), run(tmp_path / "with", name, f"callbacks=[{name}]")
    for key, value in without["state_dict"].items():  # type: ignore[attr-defined]
        assert torch.equal(value, with_["state_dict"][key]), key  # type: ignore[index]
    tags = [shown(tmp_path / which / "run") for which in ("without", "with")]
    assert tags[0] < tags[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in drawings() if name not in ALL])
def test_one_that_was_asked_for_where_it_does_not_fit_says_so(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=rf"callbacks\.{name} .*: leave it out with callbacks\.{name}=null"):
        run(
            tmp_path,
            IMAGES
            if name in (*TEXT, *PAIRS, *QUESTIONS, *CAPTIONS, *SENTENCES, *VIDEOS, "reconstructions")
            else "samples",
            f"callbacks=[{name}]",
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "steps"),
    [
        (["trainer.max_epochs=5"], [17, 34, 68, 85]),
        (["trainer.max_epochs=1", "trainer.val_check_interval=2"], [2, 4, 8, 16]),
        (["trainer.max_epochs=1", "trainer.val_check_interval=3"], [3, 6, 12, 15]),
        (["trainer.max_epochs=6", "trainer.check_val_every_n_epoch=2"], [34, 68, 102]),
        (["trainer.max_steps=20", "trainer.max_epochs=-1", "trainer.val_check_interval=5"], [5, 10, 15]),
        (["trainer.max_epochs=3", "callbacks.passage.every_n_validations=3"], [51]),
    ],
)
def test_it_draws_at_powers_of_two_and_at_the_last(tmp_path: Path, words: list[str], steps: list[int]) -> None:
    train(tiny_text(tmp_path, "default_callbacks=scalars", "callbacks=[passage]", *words))
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"images": 0}).Reload()
    assert [image.step // 32 for image in events.Images("passage")] == steps
