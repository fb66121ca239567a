"""`python -m project.predict run=latest input=photo.png`: what a trained run says about images or texts."""

from typing import Any

from omegaconf import DictConfig

from project.runs.command import command


def predict(cfg: DictConfig) -> list[dict[str, Any]]:
    """What the run says of each image, text or line that `cfg` (a composed `conf/predict.yaml`) names, and prints."""
    from project.runs.prediction import run_prediction  # torch, only when there is something to predict

    return run_prediction(cfg)


main = command("predict", lambda cfg, words: predict(cfg), texts=("input", "question"))

if __name__ == "__main__":
    main()
