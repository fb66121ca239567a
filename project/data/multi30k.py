"""Multi30k (Elliott et al. 2016): descriptions of 31,014 pictures in English, German and French."""

from pathlib import Path
from typing import Any, Literal

from project.data.module import require
from project.data.published import MULTI30K
from project.data.translation import Bitext, TranslationDataModule, read_bitext

FILES = {"train": "train", "val": "val", "test": "test_2016_flickr"}
LANGUAGES = ("de", "en", "fr")


class Multi30k(TranslationDataModule):
    """29,000 pairs to train on, 1,014 for validation, 1,000 of the test of 2016.

    Downloaded once to `root`/multi30k, one file for each part and language; files that lie there are verified and used.

    Args:
        root: the folder above `multi30k`.
        source_language: read.
        target_language: written.
        common: what `TranslationDataModule` takes.
    """

    def __init__(
        self,
        root: str = "data",
        source_language: Literal["de", "en", "fr"] = "de",
        target_language: Literal["de", "en", "fr"] = "en",
        **common: Any,
    ) -> None:
        super().__init__(**common)
        for name, language in (("source_language", source_language), ("target_language", target_language)):
            require(language in LANGUAGES, f"data.{name} must be one of {', '.join(LANGUAGES)}", language)
        differ = source_language != target_language
        require(differ, "data.source_language and data.target_language must differ", target_language)
        self.root, self.languages = Path(root), (source_language, target_language)

    def prepare_data(self) -> None:
        for split in FILES:
            self._provide(split)

    def read(self) -> dict[str, Bitext]:
        return {split: read_bitext(*self._provide(split)) for split in FILES}

    def _provide(self, split: str) -> list[Path]:
        return [MULTI30K[f"{FILES[split]}.{language}"].provide(self.root) for language in self.languages]
