"""Turn a text of any size into ids once: a vocabulary, and a file of small integers that later runs map."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from project.data.documents import Documents
from project.data.encoding import SPLITS, Encoding, Unknown
from project.data.entries import make_entry
from project.data.vocabulary import Vocabulary
from project.errors import UserError

FORMAT = 1  # of an entry; those of another one are left alone


@dataclass(frozen=True)
class Corpus:
    """Each part's ids, mapped and not read; the vocabulary; and each part's unknown tokens."""

    parts: dict[str, np.ndarray]  # (N,) uint8, uint16 or uint32
    vocabulary: Vocabulary
    unknown: dict[str, Unknown]


@dataclass(frozen=True)
class CorpusCache:
    """The cache's entry for one list of files (names, sizes and times) that is encoded in one way.

    An entry appears whole or not at all: it is written beside its place, under a lock, and then renamed.
    """

    folder: Path
    documents: Documents
    encoding: Encoding

    @property
    def place(self) -> Path:
        described = json.dumps(
            [FORMAT, asdict(self.encoding), str(self.documents.root.resolve()), self.documents.stamps]
        )
        digest = hashlib.sha256(described.encode()).hexdigest()
        return self.folder / f"{self.documents.name[:50]}-{self.encoding.tokens}-{digest[:16]}"

    def load(self) -> Corpus | None:
        """The entry; None where there is none.

        Raises:
            UserError: it is damaged.
        """
        if not self.place.is_dir():
            return None
        try:
            about = json.loads((self.place / "corpus.json").read_text(encoding="utf-8"))
            borders = np.cumsum([0, *(about["counts"][split] for split in SPLITS)]).tolist()
            ids = np.memmap(self.place / "ids.bin", about["dtype"], "r", shape=(borders[-1],))
            parts = {split: ids[borders[number] : borders[number + 1]] for number, split in enumerate(SPLITS)}
            unknown = {split: Unknown(**found) for split, found in about["unknown"].items()}
            return Corpus(parts, Vocabulary.from_facts(about["vocabulary"]), unknown)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"The cache {self.place.resolve()} cannot be read: {error}.\nRemove it; the next run makes it anew."
            ) from error

    def _write(self, entry: Path) -> None:
        about = self.encoding.write(self.documents, entry / "ids.bin")
        (entry / "corpus.json").write_text(json.dumps(about), encoding="utf-8")

    def build(self) -> Corpus:
        """Encode the text, unless another process does so meanwhile.

        Raises:
            UserError: a file that is no text, no text at all, or no place to write.
        """
        try:
            make_entry(self.place, self._write)
        except OSError as error:
            raise UserError(
                f"The text's ids cannot be written to {self.folder.resolve()}: {error.strerror or error}.\n"
                "Choose another place with data.cache_folder=PATH."
            ) from error
        corpus = self.load()
        assert corpus is not None
        return corpus
