"""Text for language models, from files of any size: characters, bytes or words in contiguous streams."""

import logging
from abc import abstractmethod
from pathlib import Path
from typing import Any, Literal

from project.data.corpus import Corpus, CorpusCache
from project.data.documents import Documents, find_documents
from project.data.encoding import Encoding
from project.data.module import DataModule, placement, require
from project.data.streams import HeldOutStreams, TextStreams, check_streams
from project.data.vocabulary import KINDS, Vocabulary, describe
from project.errors import UserError

log = logging.getLogger(__name__)
PARTS = {"train": "training", "val": "validation", "test": "test"}


class TextDataModule(DataModule):
    """One long text, to predict each token of from all before it. A member says where it is: `documents`.

    The last tenth (`val_fraction`) is held out for validation, or with `test_fraction` a part before that share for
    the test. After `setup`: `corpus` with the parts' ids, mapped from `cache_folder`; `vocabulary`, that of the
    training part; `counts` in tokens. Batches are (inputs (T, B), targets (T, B)) int64, on the trainer's device:
    those of `TextStreams` for training, of `HeldOutStreams` for the rest.

    Args:
        tokens: what is predicted.
        min_count: characters or words that are rarer in the training part are unknown.
        batch_size: contiguous streams of the training text, over all processes.
        truncate: time steps of a training batch, after which the graph is cut.
        eval_batch_size: streams of a held-out part; fewer where it is short.
        eval_length: time steps of an evaluation's batch; states go on from one to the next.
        val_fraction: of the text, after the training part.
        test_fraction: of the text, after the validation part; 0: there is no test part.
        cache_folder: for the ids.
        seed: taken and unused, as nothing here is random.
        shuffle: false repeats the first epoch's batches in every epoch.

    Raises:
        ValueError: an argument out of its range.
        UserError: text that is missing, none, or too short for what is asked.
    """

    def __init__(
        self,
        tokens: Literal["characters", "bytes", "words"] = "characters",
        min_count: int = 1,
        batch_size: int = 50,
        truncate: int = 64,
        eval_batch_size: int = 20,
        eval_length: int = 256,
        val_fraction: float = 0.1,
        test_fraction: float = 0.0,
        cache_folder: str = "data/cache",
        seed: int = 0,
        shuffle: bool = True,
    ) -> None:
        super().__init__()
        require(tokens in KINDS, f"data.tokens must be one of {', '.join(KINDS)}", tokens)
        require(min_count >= 1, "data.min_count must be at least 1", min_count)
        law = "data.min_count must be 1 with data.tokens=bytes, as all bytes are known"
        require(min_count == 1 or tokens != "bytes", law, min_count)
        require(batch_size >= 1, "data.batch_size must be at least 1", batch_size)
        require(truncate >= 1, "data.truncate must be at least 1 time step", truncate)
        require(eval_batch_size >= 1, "data.eval_batch_size must be at least 1", eval_batch_size)
        require(eval_length >= 1, "data.eval_length must be at least 1 time step", eval_length)
        require(0 < val_fraction < 1, "data.val_fraction must lie between 0 and 1, both excluded", val_fraction)
        require(0 <= test_fraction < 1, "data.test_fraction must be at least 0 and less than 1", test_fraction)
        together = val_fraction + test_fraction
        require(together < 1, "data.val_fraction and data.test_fraction must be less than 1 together", together)
        require(seed >= 0, "data.seed must be at least 0", seed)
        self.unit, self.min_count, self.cache_folder = tokens, min_count, Path(cache_folder)
        self.batch_size, self.truncate, self.shuffle, self.seed = batch_size, truncate, shuffle, seed
        self.eval_batch_size, self.eval_length = eval_batch_size, eval_length
        self.val_fraction, self.test_fraction = val_fraction, test_fraction
        self.corpus: Corpus | None = None

    @abstractmethod
    def documents(self) -> Documents:
        """The files; a UserError where there are none."""

    def prepare_data(self) -> None:
        self.setup()

    def setup(self, stage: str | None = None) -> None:
        """Map the ids, made now where they are not in the cache, and say what of the text is unknown."""
        if self.corpus is not None:
            return
        encoding = Encoding(self.unit, self.min_count, self.val_fraction, self.test_fraction)
        entry = CorpusCache(self.cache_folder, self.documents(), encoding)
        corpus = entry.load() or entry.build()
        for part in ("val", "test") if self.test_fraction else ("val",):
            if len(corpus.parts[part]) < 2:
                raise UserError(
                    f"The {PARTS[part]} part has {len(corpus.parts[part])} {self.unit}, and to predict one takes 2.\n"
                    f"Choose a larger data.{part}_fraction (now {getattr(self, f'{part}_fraction')}), or more text."
                )
        self.corpus = corpus
        self._tell_unknown(corpus)

    def _tell_unknown(self, corpus: Corpus) -> None:
        if self.trainer is not None and not self.trainer.is_global_zero:
            return
        for split, unknown in corpus.unknown.items():
            if not unknown.places:
                continue
            share = f"{unknown.places:,} of {len(corpus.parts[split]):,} {self.unit} of the {PARTS[split]} part"
            if unknown.first:
                named = ", ".join(map(describe, unknown.first)) + ", ..." * (unknown.different > len(unknown.first))
                log.info(f"{share} are unknown, {unknown.different:,} different: {named}")
            else:
                log.info(f"{share} are rarer than data.min_count={self.min_count}, and so unknown")

    @property
    def vocabulary(self) -> Vocabulary:
        return self._ready().vocabulary

    @property
    def counts(self) -> dict[str, int]:
        return {split: len(ids) for split, ids in self._ready().parts.items()}

    @property
    def sizes(self) -> dict[str, Any]:
        return {"vocab_size": len(self.vocabulary), "token": self.unit.removesuffix("s")}

    @property
    def facts(self) -> dict[str, Any]:
        return {"vocabulary": self.vocabulary.facts()}

    @property
    def samples_per_batch(self) -> int:
        return self.batch_size * self.truncate

    def check_batch_size(self, ranks: int) -> None:
        """Whether the training part fills the batches and `ranks` processes can share them; a UserError if not."""
        check_streams(self.counts["train"], self.batch_size, self.truncate, ranks, self.unit)

    def train_dataloader(self) -> TextStreams:
        ids = self._ready().parts["train"]
        place = placement(self)
        whole = len(ids) // self.batch_size // self.truncate
        limit = getattr(self.trainer, "limit_train_batches", 1.0)  # batches of each epoch, or a share of them
        return TextStreams(
            ids,
            self.batch_size,
            self.truncate,
            shuffle=self.shuffle,
            played=limit if isinstance(limit, int) else int(whole * limit),
            unit=self.unit,
            **place,
        )

    def val_dataloader(self) -> HeldOutStreams:
        return self._held_out("val")

    def test_dataloader(self) -> HeldOutStreams:
        if not self.counts["test"]:
            raise UserError(
                "There is no test part: data.test_fraction=0.\nChoose data.test_fraction=0.1, or test=false."
            )
        return self._held_out("test")

    def _held_out(self, split: str) -> HeldOutStreams:
        ids = self._ready().parts[split]
        return HeldOutStreams(ids, self.eval_batch_size, self.eval_length, **placement(self))

    def _ready(self) -> Corpus:
        assert self.corpus is not None, "setup comes first"
        return self.corpus


class Text(TextDataModule):
    """Any text files: UTF-8, or with `tokens="bytes"` whatever they are.

    Args:
        path: a file, a folder with all that is below it, or a glob; None: the source of Python's standard library.
        pattern: of a folder, only files whose name fits it, such as "*.txt".
        common: what `TextDataModule` takes.
    """

    def __init__(
        self,
        path: str | None = None,
        pattern: str = "*",
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.path, self.pattern = path, pattern

    def documents(self) -> Documents:
        return find_documents(self.path, self.pattern, without=self.cache_folder)
