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
    "scalars": "scalar-card, tf-scalar-dashboard tf-scalar-card",
    "custom_scalars": "tf-custom-scalar-multi-line-chart-card",
    "images": "tf-image-loader img",
    "text": "tf-text-loader",
    "graphs": "tf-graph-scene svg g.node",
    "projector": "vz-projector canvas",
    "hparams": "tf-hparams-table-view, tf-hparams-session-group-details, vaadin-grid",
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


def open_tab(page: Any, address: str, tab: str, seconds: float = 60) -> None:
    """Go to a tab and wait until it has drawn.

    Raises:
        playwright.sync_api.TimeoutError: it has not.
    """
    page.goto("about:blank")
    page.goto(f"{address}/#{tab}")
    page.wait_for_selector(DRAWN[tab], state="attached", timeout=1e3 * seconds)
    page.wait_for_timeout(1500)  # transitions


def main(outputs: Path, pictures: Path) -> None:
    """Every tab of what lies under `outputs`, as a PNG in `pictures`."""
    pictures.mkdir(parents=True, exist_ok=True)
    with tensorboard_at(outputs) as address, browser() as page:
        for tab in DRAWN:
            try:
                open_tab(page, address, tab, seconds=30)
            except Exception as error:  # playwright's; the tab has nothing to show
                print(f"{tab}: {str(error).splitlines()[0]}")
                continue
            page.screenshot(path=pictures / f"{tab}.png")
            print(pictures / f"{tab}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
