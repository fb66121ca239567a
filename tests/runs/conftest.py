"""Trainings of a second, for tests of what stands around them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from project.train import train
from tests.conftest import compose_config

TINY = (
    "model=convnet",
    "data=shapes",
    "data.train_images=180",  # 160 to train on: 5 batches of 32 an epoch; 20 to validate on
    "data.test_images=40",
    "data.batch_size=32",
    "data.eval_batch_size=8",
    "model.net._target_=tests.runs.parts.Small",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=2",
)


def tiny(*words: str) -> DictConfig:
    """The config of a training of a second, changed by `words`."""
    return compose_config(*TINY, *words)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a finished run with a seed, trained once for all tests; they only read it."""
    known: dict[str, Path] = {}

    def run(seed: str = "0") -> Path:
        if seed not in known:
            folder = tmp_path_factory.mktemp("finished") / "train" / "convnet" / f"run{seed}"
            train(tiny(f"folder={folder}", f"seed={seed}", "data.seed=0"))
            known[seed] = folder
        return known[seed]

    return run
