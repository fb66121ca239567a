"""From text files to ids on disk, in three passes that never hold more than a piece of the text."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped]

from project.data.documents import Documents
from project.data.vocabulary import Vocabulary, word_end, words
from project.errors import UserError

SPLITS = ("train", "val", "test")
NAMED = 10  # unknown tokens that are remembered by name
Piece = str | bytes
P = TypeVar("P", str, bytes)


@dataclass
class Unknown:
    """What a part has that the vocabulary lacks: in how many places, how many different tokens, the first of them."""

    places: int = 0
    different: int = 0
    first: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Encoding:
    """How a text becomes ids.

    Of its N characters (bytes, where those are the tokens) the last `test_fraction` are the test part, and
    `val_fraction` before them the validation part; a word that stands across such a border belongs to the part in
    which it begins. The vocabulary is that of the training part, without tokens rarer than `min_count`.
    """

    tokens: str
    min_count: int
    val_fraction: float
    test_fraction: float

    def write(self, documents: Documents, path: Path) -> dict[str, Any]:
        """Write the ids, one part after the other, to a file of raw integers.

        Returns: what JSON keeps: `vocabulary`, `dtype`, and by part `counts` of tokens and `unknown` ones.

        Raises:
            UserError: a file that is no text, or no text at all.
            OSError: no place to write.
        """
        length = sum(len(piece) for piece in self._pieces(documents, "Measuring"))
        cuts = self.cuts(length)
        vocabulary = Vocabulary.build(self._counted(documents, cuts), self.tokens, self.min_count)
        dtype = np.min_scalar_type(len(vocabulary) - 1)
        parts = {split: _Part() for split in SPLITS}
        with path.open("wb") as file:
            for split, piece in self._parts(documents, cuts, "Encoding"):
                ids = vocabulary.encode(piece)
                file.write(ids.astype(dtype).tobytes())
                parts[split].add(ids, piece, vocabulary, named=split != "train")
        counts = {split: part.tokens for split, part in parts.items()}
        if not sum(counts.values()):
            raise UserError(
                f"There are no {self.tokens} in {documents.place}.\nSay where some text is: data.path=PATH."
            )
        if sum(part.length for part in parts.values()) != length:
            raise UserError(f"{documents.place} changed while it was read.\nRun again when it is complete.")
        unknown = {split: asdict(part.unknown()) for split, part in parts.items()}
        return {"vocabulary": vocabulary.facts(), "dtype": dtype.name, "counts": counts, "unknown": unknown}

    def cuts(self, length: int) -> tuple[int, int]:
        """Where the validation part and where the test part begin in a text of `length`."""
        shares = (1 - self.val_fraction - self.test_fraction, 1 - self.test_fraction)
        first, second = (int(length * share + 1e-6) for share in shares)  # 10 * (1 - 0.9) is a little less than 1
        return first, second

    def _counted(self, documents: Documents, cuts: tuple[int, int]) -> dict[str, int]:
        """How often each token occurs in the training part; of bytes all are known."""
        counter: Counter[str] = Counter()
        codes = np.zeros(0x110000, dtype=np.int64)
        for split, piece in self._parts(documents, cuts, "Counting") if self.tokens != "bytes" else ():
            if split != "train":
                break
            assert isinstance(piece, str)
            if self.tokens == "words":
                counter.update(words(piece))
            else:
                found = np.bincount(np.frombuffer(piece.encode("utf-32-le"), np.uint32))
                codes[: len(found)] += found
        counter.update({chr(code): int(codes[code]) for code in np.flatnonzero(codes)})
        return counter

    def _parts(self, documents: Documents, cuts: tuple[int, int], purpose: str) -> Iterator[tuple[str, Piece]]:
        """The text in pieces of whole tokens, each of one part."""
        place = 0
        for piece in self._pieces(documents, purpose):
            start = 0
            for split, cut in zip(SPLITS, (*cuts, place + len(piece)), strict=True):
                stop = min(max(cut - place, 0), len(piece))
                if isinstance(piece, str) and self.tokens == "words" and 0 < stop < len(piece):
                    stop = word_end(piece, stop)
                if stop > start:
                    yield split, piece[start:stop]
                    start = stop
            place += len(piece)

    def _pieces(self, documents: Documents, purpose: str) -> Iterator[Piece]:
        """The text in pieces that no token stands across, under a progress bar."""
        if self.tokens == "bytes":
            yield from _watched(documents.content(), documents, purpose)
        elif self.tokens == "characters":
            yield from _watched(documents.text(), documents, purpose)
        else:
            yield from _whole_words(_watched(documents.text(), documents, purpose))


class _Part:
    """What is known of a part while it is encoded."""

    def __init__(self) -> None:
        self.length = self.tokens = self.places = 0
        self.names: dict[str, None] = {}

    def add(self, ids: np.ndarray, piece: Piece, vocabulary: Vocabulary, named: bool) -> None:
        self.length += len(piece)
        self.tokens += len(ids)
        unknown = int(np.count_nonzero(ids == vocabulary.UNKNOWN))
        self.places += unknown
        if unknown and named:
            self.names.update(dict.fromkeys(vocabulary.unknown_in(piece)))

    def unknown(self) -> Unknown:
        return Unknown(self.places, len(self.names), list(self.names)[:NAMED])


def _watched(pieces: Iterator[tuple[P, int]], documents: Documents, purpose: str) -> Iterator[P]:
    with tqdm(
        total=documents.size, desc=f"{purpose} {documents.name}", unit="B", unit_scale=True, leave=purpose == "Encoding"
    ) as bar:
        for piece, size in pieces:
            yield piece
            bar.update(size)


def _whole_words(pieces: Iterator[str]) -> Iterator[str]:
    """The same text, each piece to the end of a run of white space, which no word stands across."""
    rest: list[str] = []
    for piece in pieces:
        border = max(piece.rfind(space) for space in (" ", "\n", "\t")) + 1
        if border:
            yield "".join([*rest, piece[:border]])
            rest = []
        rest.append(piece[border:])
    yield "".join(rest)
