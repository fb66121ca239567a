"""What TensorBoard's tabs show of a real run and a real sweep, in a real browser."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import run_module
from tests.pages import CHROMIUM, browser, open_tab
from tests.sweeps.tensorboard import tensorboard_at

SHORT = (
    "data=shapes", "data.train_images=180", "data.test_images=40", "data.batch_size=32", "trainer.accelerator=cpu",
    "trainer.max_epochs=2", "trainer.log_every_n_steps=2",
)  # fmt: skip
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]


@pytest.fixture(scope="module")
def page_and_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str]]:
    """A browser, and a TensorBoard over two runs and a sweep."""
    pytest.importorskip("playwright")
    folder = tmp_path_factory.mktemp("looked_at")
    sweep = ("model=mlp", "sweep=default", "optimizer.lr=tag(log,interval(1e-3,1e-1))", "sweep.n_trials=2")
    for words in (("model=convnet",), ("model=autoencoder",), (*sweep, "hydra/launcher=basic")):
        done = run_module("project.train", *words, *SHORT, cwd=folder)
        assert done.returncode == 0, done.stderr
    with tensorboard_at(folder / "outputs") as address, browser() as page:
        yield page, address


@pytest.mark.parametrize(
    ("tab", "texts"),
    [
        ("scalars", ["memory/process_MiB", "speed", "train", "val", "weights"]),
        ("custom_scalars", ["loss", "accuracy"]),
        ("images", ["confusion", "filters", "inputs", "mistakes", "reconstructions"]),
        ("text", ["network", "run/config", "run/how_to_repeat"]),
        ("graphs", ["input", "output"]),
        ("projector", ["Points: 20", "codes"]),
        ("hparams", ["sweeps/default/0", "sweeps/default/1", "ImageClassifier", "Reconstruction", "optimizer.lr"]),
    ],
)
def test_every_tab_draws(page_and_address: tuple[Any, str], tab: str, texts: list[str]) -> None:
    page, address = page_and_address
    frame = open_tab(page, address, tab)
    found = [text for text in texts if frame.get_by_text(text).count()]
    assert found == texts
    if tab == "images":
        broken = frame.locator("tf-image-loader img").evaluate_all("all => all.filter(one => !one.naturalWidth).length")
        assert broken == 0
