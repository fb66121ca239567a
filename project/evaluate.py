"""`python -m project.evaluate run=latest`: how good trained runs are on their test set, and why."""

from typing import Any

from omegaconf import DictConfig

from project.runs.command import command


def evaluate(cfg: DictConfig) -> dict[str, Any]:
    """Test the runs that `cfg` (a composed `conf/evaluate.yaml`) names; the metrics of each, and of their ensemble."""
    from project.runs.evaluation import run_evaluation  # torch and lightning, only when there is something to test

    return run_evaluation(cfg)


main = command("evaluate", lambda cfg, words: evaluate(cfg))

if __name__ == "__main__":
    main()
