"""The package that `pip install .` makes: the configs travel inside, and it works from any folder."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import CONF

ROOT = CONF.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the working tree, built in an environment of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_the_wheel_holds_code_and_configs_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    configs = {f"project/conf/{path.relative_to(CONF)}" for path in CONF.rglob("*.yaml")}
    assert configs <= names
    assert all(name.startswith(("project/", "project-", "hydra_plugins/")) for name in names)
    assert not any("tests" in name for name in names)


@pytest.mark.slow
def test_the_installed_package_works_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    words = ["model=mlp", "data=shapes", "data.train_images=200", "data.batch_size=16", "trainer=smoke"]
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "project.train", *words],
        cwd=tmp_path / "empty",
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "empty").iterdir()] == ["outputs"]


def test_dependencies_have_no_upper_bound_but_hydra_s_next_major() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert 'requires-python = ">=3.10"' in text
    (listed,) = re.findall(r"^dependencies = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    names = re.findall(r'"(.*?)"', listed)
    assert {re.split("[<>=]", name)[0] for name in names} >= {
        "torch",
        "lightning",
        "hydra-core",
        "optuna",
        "tensorboard",
    }
    assert [name for name in names if "<" in name] == ["hydra-core>=1.3.2,<2"]
