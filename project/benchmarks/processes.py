"""Commands in interpreters of their own, as a person starts them."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PACKAGE = Path(__file__).parents[2]


def run_module(module: str, words: Sequence[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    """`python -m <module> <words>` in a folder, to its end."""
    command = [sys.executable, "-m", module, *words]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)


def environment() -> dict[str, str]:
    """In which an interpreter finds this package from any folder."""
    path = os.pathsep.join([str(PACKAGE), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}
