"""IMDB (Maas et al. 2011): 50,000 reviews of films, half of them positive and half negative."""

from pathlib import Path
from typing import Any

from project.data.labelled import Labelled, read_labelled
from project.data.published import IMDB
from project.data.reviews import ReviewDataModule
from project.data.tables import Wanted


class Imdb(ReviewDataModule):
    """25,000 reviews to train and validate on, 25,000 to test on; those without a class are not read.

    Downloaded once into `root`; an archive or an unpacked folder that lies there is used. The line breaks of web pages
    that the reviews have, `<br />`, are read as spaces.

    `common`: what `ReviewDataModule` takes.
    """

    archive = IMDB

    def __init__(
        self,
        root: str = "data",
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.root = Path(root)

    def prepare_data(self) -> None:
        self.archive.provide(self.root)

    def read(self) -> Labelled:
        self.prepare_data()
        labelled = read_labelled(str(self.root / self.archive.folder), Wanted(), only=("neg", "pos"))
        for texts in labelled.texts.values():
            texts[:] = [text.replace("<br />", " ") for text in texts]
        return labelled
