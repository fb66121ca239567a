"""`python -m project.compare runs=outputs/train`: runs in a table, with what differs in their configs."""

import shutil
import sys
from typing import Any

from omegaconf import DictConfig

from project.runs.command import command


def compare(cfg: DictConfig, words: list[str]) -> Any:
    """Print the table that `cfg` (a composed `conf/compare.yaml`) asks for; its rows."""
    from project.runs.comparison import run_comparison

    # what goes into a file or another program is complete in every line
    return run_comparison(cfg, shutil.get_terminal_size().columns if sys.stdout.isatty() else None)


main = command("compare", compare, texts=("runs", "sort", "output"), lists=("runs",))

if __name__ == "__main__":
    main()
