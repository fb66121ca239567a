"""`python -m project.report sweep=outputs/sweeps/resnet`: a sweep on one HTML page."""

from pathlib import Path

from omegaconf import DictConfig

from project.runs.command import command


def report(cfg: DictConfig, words: list[str]) -> Path:
    """Write the page of the sweep that `cfg` (a composed `conf/report.yaml`) names; where it is."""
    from project.sweeps.report import run_report  # optuna and plotly, only when there is something to show

    return run_report(cfg, words)


def _storage(words: list[str]) -> list[str]:
    """The database's URL, which may hold a password: no config and no message of Hydra's is to show it."""
    return [word for word in words if word.lstrip("+").startswith("sweep.storage=")]


main = command("report", report, kept_apart=_storage, texts=("sweep", "study", "output"))

if __name__ == "__main__":
    main()
