"""Tiny Shakespeare (Karpathy, 2015): 1,115,394 characters of plays, 65 of them different."""

from pathlib import Path
from typing import Any

from project.data.documents import Documents, find_documents
from project.data.published import TINY_SHAKESPEARE
from project.data.text import TextDataModule


class TinyShakespeare(TextDataModule):
    """Downloaded once to `root`/tinyshakespeare/input.txt; a file that lies there is verified and used.

    `common`: what `TextDataModule` takes.
    """

    source = TINY_SHAKESPEARE

    def __init__(
        self,
        root: str = "data",
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.root = Path(root)

    def documents(self) -> Documents:
        return find_documents(str(self.source.provide(self.root)))
