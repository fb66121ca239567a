"""`python -m project.dream run=latest`: pictures that excite the units of a trained network."""

from pathlib import Path

from omegaconf import DictConfig

from project.runs.command import command


def dream(cfg: DictConfig) -> Path | None:
    """Dream of what `cfg` (a composed `conf/dream.yaml`) names; the PNG, or None where the units were only listed."""
    from project.runs.dreaming import run_dream  # torch, only when there is something to dream of

    return run_dream(cfg)


main = command("dream", lambda cfg, words: dream(cfg), texts=("input", "out"))

if __name__ == "__main__":
    main()
