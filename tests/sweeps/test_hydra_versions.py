"""Sweeps under the other Hydra: `PROJECT_TEST_HYDRA` is a folder that it is installed in (`pip install --target`)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CONF
from tests.sweeps.sweeping import SPACE, TINY, trials

pytestmark = pytest.mark.slow


@pytest.mark.skipif("PROJECT_TEST_HYDRA" not in os.environ, reason="no other Hydra is installed")
def test_the_release_candidate_composes_and_runs_a_sweep_and_its_best(tmp_path: Path) -> None:
    paths = [os.environ["PROJECT_TEST_HYDRA"], str(CONF.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    version = [sys.executable, "-c", "import hydra; print(hydra.__version__)"]
    assert subprocess.run(version, env=environment, capture_output=True, text=True).stdout.startswith("1.4.")
    folder = tmp_path / "sweep"
    sweep = [*TINY, f"hydra.sweep.dir={folder}", SPACE, "model.label_smoothing=choice(0.0,0.1)", "sweep.n_trials=3"]
    for words in ([*sweep, "sweep.workers=2"], [f"experiment={folder / 'best.yaml'}"]):
        command = [sys.executable, "-m", "project.train", *words]
        told = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert told.returncode == 0, told.stdout + told.stderr
    assert [trial.number for trial in trials(folder)] == [0, 1, 2]
