"""`python -m project.style content=photo.png style=painting.png run=latest`: a picture in the style of another."""

from pathlib import Path

from omegaconf import DictConfig

from project.runs.command import command


def style(cfg: DictConfig) -> Path:
    """Make the picture that `cfg` (a composed `conf/style.yaml`) describes; the PNG."""
    from project.runs.styling import run_style  # torch, only when there is something to make

    return run_style(cfg)


main = command("style", lambda cfg, words: style(cfg), texts=("content", "style", "out"))

if __name__ == "__main__":
    main()
