"""Captioners of a second or two, for tests of what stands around them."""

from pathlib import Path

from omegaconf import DictConfig

from tests.conftest import compose_config


def tiny_captions(folder: Path, *words: str) -> DictConfig:
    """The config, changed by `words`, of a captioner that is trained in `folder` for two epochs of 5 batches."""
    return compose_config(
        "model=captioner",
        "net.channels=[4,6,6,8]",
        "data.train_images=60",
        "data.val_images=12",
        "data.test_images=8",
        "data.image_size=24",
        "data.batch_size=12",
        "data.eval_batch_size=5",
        "model.net.hidden_size=12",
        "model.net.attention_size=8",
        "model.net.dropout=0.1",
        "model.max_length=12",
        "trainer.accelerator=cpu",
        "trainer.max_epochs=2",
        "trainer.log_every_n_steps=2",
        f"folder={folder}",
        *words,
    )
