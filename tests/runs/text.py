"""Language models and classifiers of a second, for tests of what stands around them."""

from pathlib import Path

from omegaconf import DictConfig

from tests.conftest import compose_config

TEXT = "".join(f"{number} bottles, {number // 2} corks.\n" for number in range(30, 1, -1))


def tiny_text(folder: Path, *words: str, text: str = TEXT) -> DictConfig:
    """The config, changed by `words`, of a training in `folder`/run: two epochs of 17 batches of 32 characters."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.txt").write_text(text, encoding="utf-8")
    return compose_config(
        "model=lstm",
        "data=text",
        f"data.path={folder / 'text.txt'}",
        f"data.cache_folder={folder / 'cache'}",
        "data.batch_size=4",
        "data.truncate=8",
        "data.eval_batch_size=2",
        "data.eval_length=8",
        "model.net.hidden_size=8",
        "trainer.accelerator=cpu",
        "trainer.max_epochs=2",
        "trainer.log_every_n_steps=5",
        "test=false",
        f"folder={folder / 'run'}",
        *words,
    )


def tiny_opinions(folder: Path, *words: str) -> DictConfig:
    """The config, changed by `words`, of a classifier of sentences that is trained in `folder`/run for two epochs."""
    return compose_config(
        "model=text_classifier",
        "data=opinions",
        "data.train_sentences=60",
        "data.test_sentences=20",
        "data.batch_size=16",
        "data.eval_batch_size=4",
        "data.val_fraction=0.2",
        "model.net.hidden_size=8",
        "trainer.accelerator=cpu",
        "trainer.max_epochs=2",
        "test=false",
        f"folder={folder / 'run'}",
        *words,
    )
