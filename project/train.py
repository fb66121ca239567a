"""`python -m project.train model=resnet`: train a network, test it, write a run's folder."""

from omegaconf import DictConfig

from project.runs.command import command


def train(cfg: DictConfig) -> float:
    """Train as `cfg` (a composed `conf/train.yaml`) says; the best value of `cfg.monitor`."""
    from project.runs.training import run_training  # torch and lightning, only when there is something to train

    return run_training(cfg)


def _train(cfg: DictConfig, words: list[str]) -> float:
    if cfg.resume is not None:
        from project.runs.resuming import resumed_config

        cfg = resumed_config(str(cfg.resume), words, cfg.outputs)
    return train(cfg)


main = command("train", _train)

if __name__ == "__main__":
    main()
