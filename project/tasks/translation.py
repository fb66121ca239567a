"""What does this sentence say in another language? Cross-entropy of its words, and the BLEU of what is written."""

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from project.data.subwords import BEGIN, PAD, UNKNOWN
from project.nets.search import Found
from project.nets.translator import Translator
from project.tasks.bleu import Bleu
from project.tasks.classification import CrossEntropy
from project.tasks.schedules import Schedule, Steps, constant
from project.tasks.task import Stage, Task
from project.tasks.writing import written

log = logging.getLogger(__name__)

EXAMPLES = 4  # sentences of the validation part, its first ones, that are kept to be shown


class Example(NamedTuple):
    """A sentence, what is right, and what the network wrote; ids without padding, and of what it wrote without end."""

    source: str
    reference: str
    translation: str
    source_ids: list[int]
    translation_ids: list[int]


class Translation(Task):
    """Teacher forcing: every word of the target is predicted from the source and the right words before it.

    `loss` is in nats per target token, its end included, smoothed in training as in
    `project.tasks.classification.ImageClassifier`; `perplexity` is exp(loss) of what is not smoothed. `bleu` is that of
    greedy translations at validation, and of a beam search at the test. The data's module gives both tokenizers,
    and the references as they are.

    Args:
        net: a `project.nets.translator.Translator`, or what has its methods.
        label_smoothing: the share of the target that is spread evenly over the vocabulary.
        beam_size: beginnings that the search at the test keeps; 1: greedy.
        length_penalty: see `project.nets.search.length_norm`.
        max_length: tokens of a translation, at most; None: twice those of the source, and ten.
        write_unknown: a translation may have words that are unknown to the vocabulary, as `<unk>`.
        val_sentences: so many sentences of the validation part, from its first on, are translated; None: all.

    Raises:
        ValueError: an argument out of its range.
    """

    measures: ClassVar[Sequence[str]] = ("loss",)

    def __init__(
        self,
        net: Translator,
        optimizer: Callable[..., Optimizer] | None = None,
        scheduler: Callable[[Optimizer, Steps], Schedule] = constant,
        decay_norms_and_biases: bool = True,
        label_smoothing: float = 0.1,
        beam_size: int = 5,
        length_penalty: float = 1.0,
        max_length: int | None = None,
        write_unknown: bool = False,
        val_sentences: int | None = 2000,
    ) -> None:
        super().__init__(net, optimizer, scheduler, decay_norms_and_biases)
        for name, value in (("beam_size", beam_size), ("max_length", max_length), ("val_sentences", val_sentences)):
            if value is not None and value < 1:
                raise ValueError(f"model.{name} must be at least 1, got {value}")
        if length_penalty < 0:
            raise ValueError(f"model.length_penalty must be at least 0, got {length_penalty}")
        self.criterion = CrossEntropy(label_smoothing)
        self.beam_size, self.length_penalty, self.max_length = beam_size, length_penalty, max_length
        self.never = [PAD, BEGIN] if write_unknown else [UNKNOWN, PAD, BEGIN]
        self.val_sentences = val_sentences
        self.bleu = Bleu()
        self.examples: list[Example] = []  # those of the first sentences of the last validation, on this rank
        self._told = False

    @property
    def logged(self) -> list[str]:
        return ["train/loss", "val/loss", "val/perplexity", "val/bleu"]

    def begin(self, stage: Stage) -> None:
        self.bleu = Bleu()
        self.examples = []

    def measure(self, batch: Any, stage: Stage) -> tuple[Tensor, Sequence[Tensor], int]:
        """`batch`: source (S, B), its lengths (B,), and target (T + 1, B), which begins with BEGIN, ends with END."""
        source, lengths, target = batch
        following = target[1:]
        where = following != PAD
        logits = self.net(source, lengths, target[:-1], where)  # (K, V): of real words alone
        words = following[where]
        loss = self.criterion(logits, words, stage)
        return loss, [loss * len(words)], len(words)

    def example(self, batch: Any) -> tuple[Any, ...]:
        source, lengths, target = (part[..., :1] for part in batch)
        return source, lengths, target[:-1], target[1:] != PAD

    def derived(self, stage: Stage, means: dict[str, float]) -> dict[str, float]:
        if stage == "train" or not means:
            return means
        perplexity = math.exp(min(means["loss"], 700.0))
        bleu = self.bleu.read(self.device, self._sum_over_ranks)
        self._tell()
        return {**means, "perplexity": perplexity, "bleu": bleu}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Of several ranks each has other words, and every word counts the same: gradients are means over ranks."""
        loss = super().training_step(batch, batch_idx)
        return loss if self.trainer.world_size == 1 else self.counted_alike(loss, int((batch[2][1:] != PAD).sum()))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self._compare(batch, batch_idx, "val", self.trainer.val_dataloaders)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        super().test_step(batch, batch_idx)
        self._compare(batch, batch_idx, "test", self.trainer.test_dataloaders)

    @torch.no_grad()
    def translate(self, source: Tensor, lengths: Tensor, beam_size: int | None = None) -> list[Found]:
        """Source (S, B), of which column b counts up to `lengths[b]`, to the best translation of each that is found.

        Args:
            beam_size: 1: greedy; None: the task's own.
        """
        width = self.beam_size if beam_size is None else beam_size
        net: Any = self.net
        decoding = net.encode(source, lengths)
        limits = 2 * lengths + 10 if self.max_length is None else torch.full_like(lengths, self.max_length)
        limits = limits.to(source.device)
        return written(net.decode_step, decoding, limits, width, self.never, self.length_penalty)

    def compare(self, batch: Any, places: Tensor, stage: Stage, data: Any) -> list[str]:
        """The translations of a batch, which count for the BLEU that is being read.

        Args:
            batch: see `measure`.
            places: (B,) where its sentences stand in the files.
            stage: val: greedy; test: beam search.
            data: the data's module, with the `sources` and `references` of a part, and the `target`'s tokenizer.
        """
        source, lengths, _ = batch
        found = self.translate(source, lengths, 1 if stage == "val" else None)
        texts = [data.target.decode(one.tokens) for one in found]
        sources, references = data.sources(stage), data.references(stage)
        self.bleu.add(texts, [references[place] for place in places.tolist()])
        for b, place in enumerate(places.tolist()):
            if place < EXAMPLES:
                ids = source[: lengths[b], b].tolist()
                self.examples.append(Example(sources[place], references[place], texts[b], ids, found[b].tokens))
        return texts

    def _compare(self, batch: Any, batch_idx: int, stage: Stage, loader: Any) -> None:
        source, lengths, target = batch
        places = loader.order(0)[loader.share(batch_idx)]
        if stage == "val" and self.val_sentences is not None:
            chosen = places < self.val_sentences
            columns = chosen.nonzero()[:, 0]
            source, target = (ids.index_select(1, columns.to(ids.device)) for ids in (source, target))
            lengths, places = lengths.index_select(0, columns.to(lengths.device)), places[columns]
        if len(places):
            self.compare((source, lengths, target), places, stage, self.trainer.datamodule)  # type: ignore[attr-defined]

    def _tell(self) -> None:
        """Once: what the scores are to be compared with."""
        if not self._told and self.trainer.is_global_zero:
            log.info("BLEU: %s", self.bleu.signature)
        self._told = True
