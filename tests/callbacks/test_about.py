"""What a run tells of itself in TensorBoard's Text tab."""

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from project.callbacks.about import how_to_repeat
from project.callbacks.verbatim import verbatim
from project.runs.resuming import resumed_config
from project.train import train
from tests.runs.conftest import tiny

ENVIRONMENT = {
    "command": "python -m project.train 'data.path=a b' model=mlp",
    "seed": 7,
    "git": {"commit": "0123abc", "uncommitted": True},
    "python": "3.11.2",
    "packages": {"torch": "2.9.0", "optuna": None},
    "hardware": {"system": "Linux", "processor": "CPU", "cores": 2, "threads": 1, "gpus": ["H100"]},
}


def test_how_to_repeat_to_the_letter() -> None:
    assert how_to_repeat(ENVIRONMENT).splitlines() == [
        "python -m project.train 'data.path=a b' model=mlp",
        "",
        "commit     0123abc, with the changes that git.diff in the run's folder holds",
        "seed       7",
        "packages   python==3.11.2 torch==2.9.0",
        "processor  CPU, 2 cores, 1 threads",
        "GPU        H100",
        "system     Linux",
    ]
    assert "commit" not in how_to_repeat({**ENVIRONMENT, "git": None})


@pytest.mark.slow
def test_it_stands_there_once_verbatim_and_a_resumed_run_adds_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "<b>$x$ `run`"
    train(tiny(f"folder='{folder}'"))
    config = (folder / "config.yaml").read_text()
    train(resumed_config(str(folder), ["trainer.max_epochs=3"], "outputs"))
    events = EventAccumulator(str(folder)).Reload()
    texts = {
        name: [event.tensor_proto.string_val[0].decode() for event in events.Tensors(f"run/{name}/text_summary")]
        for name in ("config", "how_to_repeat")
    }
    assert texts["config"] == [verbatim(config)]
    assert all(line.startswith("    ") for line in texts["config"][0].split("\n"))  # a block of code: no Markdown
    assert f"folder: {folder}" in " ".join(texts["config"][0].split())  # YAML folds long lines
    environment = json.loads((folder / "environment.json").read_text())
    assert texts["how_to_repeat"] == [verbatim(how_to_repeat(environment))]
