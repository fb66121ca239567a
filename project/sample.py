"""`python -m project.sample run=latest prompt="ROMEO:"`: texts that a trained language model writes."""

from omegaconf import DictConfig

from project.runs.command import command


def sample(cfg: DictConfig) -> list[dict[str, str]]:
    """Continue the prompts that `cfg` (a composed `conf/sample.yaml`) names; per prompt the prompt and its text."""
    from project.runs.sampling import run_sampling  # torch, only when there is something to write

    return run_sampling(cfg)


main = command("sample", lambda cfg, words: sample(cfg), texts=("prompt",), lists=("prompt",))

if __name__ == "__main__":
    main()
