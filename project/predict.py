"""`python -m project.predict run=latest input=photo.png`: which classes a trained run sees in images."""

from typing import Any

from omegaconf import DictConfig

from project.runs.command import command


def predict(cfg: DictConfig) -> list[dict[str, Any]]:
    """Classify what `cfg` (a composed `conf/predict.yaml`) names; per image its path and its likeliest classes."""
    from project.runs.prediction import run_prediction  # torch, only when there is something to classify

    return run_prediction(cfg)


main = command("predict", lambda cfg, words: predict(cfg))

if __name__ == "__main__":
    main()
