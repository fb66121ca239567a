"""Every member of every config group goes through the same contract: it composes, is checked, and trains."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig

from project.runs.checks import check
from project.train import train
from tests.conftest import CONF, choices

Compose = Callable[..., DictConfig]
GROUPS = (
    "data",
    "optimizer",
    "scheduler",
    "cell",
    "net",
    "model",
    "trainer",
    "logger",
    "callbacks",
    "default_callbacks",
    "experiment",
)
MEMBERS = [(group, name) for group in GROUPS for name in choices(group)]
MUST_BE_GIVEN = {
    "coco_captions": ["data.root=x"],
    "flickr8k": ["data.root=x"],
    "image_folder": ["data.root=x"],
    "mask_folder": ["data.root=x"],
    "reviews": ["data.path=x"],
    "vqa_v2": ["data.root=x"],
    "video_folder": ["data.root=x"],
    "translation": ["data.source=x", "data.target=y"],
}
SMOKE = ("trainer=smoke", "trainer.accelerator=cpu", "data.batch_size=8", "data.eval_batch_size=8")
SHORT = ("data=shapes", "data.train_images=100", "data.test_images=20", "data.val_fraction=0.1", *SMOKE)
SHORT_TEXT = ("data=text", f"data.path={CONF / 'train.yaml'}", "data.truncate=4", "data.test_fraction=0.1", *SMOKE)
# generated data that a task can be tried on, by its class
SHORT_FOR = {
    "Captioning": ("data.train_images=100", "data.val_images=20", "data.test_images=20", *SMOKE),
    "LanguageModelling": SHORT_TEXT,
    "TextClassification": ("data=opinions", "data.train_sentences=100", "data.test_sentences=20", *SMOKE),
    "Answering": ("data=sort_of_clevr", "data.train_images=40", "data.test_images=8", "data.val_fraction=0.2", *SMOKE),
    "Regression": ("data=shape_corners", "data.train_images=100", "data.test_images=20", *SMOKE),
    "Segmentation": ("data=shape_masks", "data.train_images=100", "data.test_images=20", *SMOKE),
    "FrameClassification": ("data=moving_shapes", "data.train_videos=20", "data.test_videos=10", *SMOKE),
    "Translation": ("data=spelled_numbers", "data.train_pairs=100", "data.test_pairs=20", *SMOKE),
}
# samples of a step; None: as it comes
SMALL = {
    "LanguageModelling": 32,
    "TextClassification": 8,
    "Answering": 160,
    "Translation": None,
    "FrameClassification": None,
}


def short(composed: Compose, *words: str) -> tuple[str, tuple[str, ...]]:
    """The task's name, and the data to try it on."""
    task = str(composed(*words).model._target_).rsplit(".", 1)[-1]
    return task, SHORT_FOR.get(task, SHORT)


def at(folder: Path, task: str) -> list[str]:
    """Where a run, and what its data keep, is to be."""
    return [f"folder={folder / 'run'}", *([f"data.cache_folder={folder}"] if task == "LanguageModelling" else [])]


@pytest.mark.parametrize(("group", "name"), MEMBERS)
def test_every_choice_composes_and_its_keys_are_its_class_s_arguments(composed: Compose, group: str, name: str) -> None:
    words = [f"{group}={name}", *(["model=lstm"] if group == "cell" else MUST_BE_GIVEN.get(name, []))]
    cfg = composed(*words)
    check(cfg, words, "train")
    if group in ("optimizer", "scheduler", "cell"):
        assert callable(instantiate(cfg[group]))  # third parties' classes are imported and take these names


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONF)))
def test_models_experiments_and_entry_points_open_with_their_command(path: Path) -> None:
    if path.parent.name not in ("model", "experiment") and path.parent != CONF:
        return
    lines = [line for line in path.read_text().splitlines() if line != "# @package _global_"]
    entry_point = path.stem if path.parent == CONF else "train"
    assert lines[0].startswith(f"# python -m project.{entry_point} "), lines[0]
    if path.parent != CONF:
        assert lines[0].split()[4] == f"{path.parent.name}={path.stem}"


@pytest.mark.slow
@pytest.mark.parametrize("name", choices("model"))
def test_every_model_trains_on_generated_data(composed: Compose, tmp_path: Path, name: str) -> None:
    task, words = short(composed, f"model={name}")
    value = train(composed(f"model={name}", *words, *at(tmp_path, task)))
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["best"]["value"] == value
    samples = SMALL.get(task, 8)
    assert metrics["samples"] == samples or samples is None
    assert any(key.startswith("test/") for key in metrics)


@pytest.mark.slow
@pytest.mark.parametrize("name", choices("experiment"))
def test_every_experiment_trains_on_generated_data(composed: Compose, tmp_path: Path, name: str) -> None:
    task, words = short(composed, f"experiment={name}")
    train(composed(f"experiment={name}", *words, *at(tmp_path, task)))
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["steps"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", choices("scheduler"))
@pytest.mark.parametrize("optimizer", choices("optimizer"))
def test_every_schedule_drives_every_optimizer(composed: Compose, tmp_path: Path, name: str, optimizer: str) -> None:
    words = ("model=mlp", f"scheduler={name}", f"optimizer={optimizer}", "model.net.hidden=[8]", "test=false")
    train(composed(*words, *SHORT, "default_callbacks=scalars", f"folder={tmp_path / 'run'}"))


@pytest.mark.parametrize("name", [name for name in choices("trainer") if name not in ("gpu", "fsdp")])
def test_every_trainer_preset_runs_on_the_cpu(composed: Compose, tmp_path: Path, name: str) -> None:
    words = [word for word in SHORT if not word.startswith("trainer=")]
    if name not in ("smoke", "profile"):
        words.append("trainer.max_epochs=1")
    folder = tmp_path / "run"
    train(composed("model=mlp", "model.net.hidden=[8]", *words, f"trainer={name}", f"folder={folder}"))
    assert (folder / "metrics.json").exists()
    if name == "profile":
        assert [path for path in folder.iterdir() if path.name.startswith("fit-profile")]


@pytest.mark.parametrize("name", choices("default_callbacks"))
def test_every_set_of_callbacks_can_be_resumed(composed: Compose, tmp_path: Path, name: str) -> None:
    task, words = short(composed, "model=mlp")
    train(composed("model=mlp", "model.net.hidden=[8]", *words, f"default_callbacks={name}", *at(tmp_path, task)))
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


def test_the_command_line_wins_over_what_a_model_chooses(composed: Compose) -> None:
    cfg = composed("model=mlp", "data=shapes", "optimizer=sgd")
    assert cfg.data._target_ == "project.data.shapes.Shapes"
    assert cfg.optimizer._target_ == "torch.optim.SGD"
    assert composed("model=mlp").optimizer._target_ == "torch.optim.AdamW"
    assert composed("experiment=vgg_paper", "optimizer.lr=0.5").optimizer.lr == 0.5


@pytest.mark.slow
@pytest.mark.parametrize("experiment", choices("experiment"))
def test_a_preset_wins_over_an_experiment_and_the_command_line_over_both(composed: Compose, experiment: str) -> None:
    assert composed(f"experiment={experiment}").trainer.max_epochs != 4
    assert composed(f"experiment={experiment}", "trainer=quick").trainer.max_epochs == 4
    cfg = composed(f"experiment={experiment}", "trainer=overfit", "trainer.max_epochs=7")
    assert (cfg.trainer.max_epochs, cfg.data.shuffle) == (7, False)


def test_options_of_tasks_are_there_without_a_plus(composed: Compose) -> None:
    words = ("model.label_smoothing=0.1", "model.decay_norms_and_biases=false")
    assert composed("model=resnet", *words).model.label_smoothing == 0.1
    assert composed("model=autoencoder", words[1]).model.decay_norms_and_biases is False
