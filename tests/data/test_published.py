"""What is found out about a data set before torch is imported is what torchvision says of it."""

import subprocess
import sys
from pathlib import Path

import pytest
from torchvision.datasets import CIFAR10, CIFAR100

from project.data import published
from project.data.cifar import Cifar10, Cifar100


@pytest.mark.parametrize(("source", "member"), [(CIFAR10, Cifar10), (CIFAR100, Cifar100)])
def test_the_source_read_as_text_says_what_the_class_says(source: type, member: type) -> None:
    facts = published._class_attributes("torchvision", "datasets/cifar.py", source.__name__)
    assert published.published_archive(source.__name__, facts) == member().archive


@pytest.mark.parametrize("target", ["Cifar10", "Cifar100"])
def test_no_network_is_told_without_torch_and_leaves_nothing(tmp_path: Path, target: str) -> None:
    code = f"""
import sys
from project.data.published import check_reach
from project.errors import UserError
try:
    check_reach("project.data.cifar.{target}", "data")
except UserError as error:
    print(error)
print("torch" in sys.modules)
"""
    root = str(Path(__file__).parents[2])
    closed = "http://127.0.0.1:9"  # a port that nobody listens on stands for the absent network
    environment = {"PYTHONPATH": root, "https_proxy": closed, "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"CIFAR-{target.removeprefix('Cifar')} is not in {tmp_path / 'data'}, and https://")
    assert "data=shapes" in lines[1]
    assert lines[2] == "False"
    assert not list(tmp_path.iterdir())
