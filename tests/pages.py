"""TensorBoard's tabs in a real browser; `python -m tests.pages outputs docs` takes the README's pictures."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.sweeps.tensorboard import tensorboard_at

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # nothing but this machine
]
# of each tab: what is there once it has drawn
DRAWN = {
    "scalars": "tf-scalar-card vz-line-chart2, tf-scalar-card tf-line-chart-data-loader, scalar-card",
    "custom_scalars": "tf-custom-scalar-multi-line-chart-card",
    "images": "tf-image-loader img[src]",
    "text": "tf-text-loader td, tf-text-loader p",
    "graphs": "tf-graph-scene g.node",
    "projector": "vz-projector canvas",
    "hparams": "tf-hparams-table-view vaadin-grid-cell-content",
}


@contextmanager
def browser(width: int = 1400, height: int = 900) -> Iterator[Any]:
    """A page of a headless Chromium that reaches this machine alone."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield chromium.new_page(viewport={"width": width, "height": height})
        finally:
            chromium.close()


def open_tab(page: Any, address: str, tab: str, seconds: float = 60) -> Any:
    """Go to a tab, wait until it has drawn, and return the frame that it has drawn in.

    Raises:
        AssertionError: it has not drawn in so many seconds.
    """
    page.goto("about:blank")
    page.goto(f"{address}/#{tab}")
    for _ in range(int(seconds / 0.2)):
        for frame in page.frames:  # the projector has one of its own
            if frame.locator(DRAWN[tab]).count():
                page.wait_for_timeout(2000)  # transitions
                return frame
        page.wait_for_timeout(200)
    raise AssertionError(f"{tab} has drawn nothing in {seconds:g} s")


def main(outputs: Path, pictures: Path) -> None:
    """Every tab of what lies under `outputs`, as a PNG in `pictures`."""
    pictures.mkdir(parents=True, exist_ok=True)
    with tensorboard_at(outputs) as address, browser() as page:
        for tab in DRAWN:
            try:
                open_tab(page, address, tab, seconds=30)
            except AssertionError as error:
                print(error)
                continue
            page.screenshot(path=pictures / f"{tab}.png")
            print(pictures / f"{tab}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
