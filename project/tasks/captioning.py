"""What is in this picture? Cross-entropy of the words of its captions, BLEU, and where it can be checked, the truth."""

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from project.data.subwords import BEGIN, PAD, UNKNOWN
from project.nets.captioner import Captioner
from project.nets.search import Found
from project.tasks.bleu import Bleu
from project.tasks.classification import CrossEntropy
from project.tasks.schedules import Schedule, Steps, constant
from project.tasks.task import Stage, Task
from project.tasks.writing import written

log = logging.getLogger(__name__)

ORDERS = (1, 2, 3, 4)


class Caption(NamedTuple):
    """What was written of image number `place` of a part; `score` as in `project.nets.search.Found`."""

    place: int
    text: str
    score: float


class Captioning(Task):
    """Teacher forcing: every word of a caption is predicted from the picture and the right words before it.

    `loss` is in nats per word, the end included, smoothed in training as in
    `project.tasks.classification.ImageClassifier`; `perplexity` is exp(loss) of what is not smoothed. `bleu_1` to
    `bleu_4`, against all captions of the picture, are those of greedy captions at validation, and of a beam search at
    the test; so is `true_captions`, the share of captions that are true of their picture, of data that can tell.

    Args:
        net: a `project.nets.captioner.Captioner`, or what has its methods.
        label_smoothing: the share of the target that is spread evenly over the vocabulary.
        doubly_stochastic: lambda of the penalty lambda sum_i (1 - sum_t a_ti)^2 of a caption (Xu et al. 2015, equation
            14): the attention is to look at all places i alike over all words t. Not part of what `loss` tells.
        beam_size: beginnings that the search at the test keeps; 1: greedy.
        length_penalty: see `project.nets.search.length_norm`.
        max_length: words of a caption, its end included, at most.
        write_unknown: a caption may have words that are unknown to the vocabulary, as `<unk>`.
        val_images: so many images of the validation part, from its first on, get captions; None: all.

    Raises:
        ValueError: an argument out of its range.
    """

    measures: ClassVar[Sequence[str]] = ("loss",)

    def __init__(
        self,
        net: Captioner,
        optimizer: Callable[..., Optimizer] | None = None,
        scheduler: Callable[[Optimizer, Steps], Schedule] = constant,
        decay_norms_and_biases: bool = True,
        label_smoothing: float = 0.0,
        doubly_stochastic: float = 1.0,
        beam_size: int = 3,
        length_penalty: float = 1.0,
        max_length: int = 30,
        write_unknown: bool = False,
        val_images: int | None = 2000,
    ) -> None:
        super().__init__(net, optimizer, scheduler, decay_norms_and_biases)
        for name, value in (("beam_size", beam_size), ("max_length", max_length), ("val_images", val_images)):
            if value is not None and value < 1:
                raise ValueError(f"model.{name} must be at least 1, got {value}")
        for name, share in (("length_penalty", length_penalty), ("doubly_stochastic", doubly_stochastic)):
            if share < 0:
                raise ValueError(f"model.{name} must be at least 0, got {share}")
        self.criterion, self.doubly_stochastic = CrossEntropy(label_smoothing), doubly_stochastic
        self.beam_size, self.length_penalty, self.max_length = beam_size, length_penalty, max_length
        self.never = [PAD, BEGIN] if write_unknown else [UNKNOWN, PAD, BEGIN]
        self.val_images = val_images
        self.begin("val")
        self._told = False

    @property
    def logged(self) -> list[str]:
        names = ["perplexity", *(f"bleu_{n}" for n in ORDERS), "true_captions"]
        return ["train/loss", "val/loss", *(f"val/{name}" for name in names)]

    def begin(self, stage: Stage) -> None:
        self.bleu = Bleu(lowercase=True)
        self.captions: list[Caption] = []  # those of the last validation or test, on this rank
        self.checked = [0, 0]  # how many of them are true, and how many could be checked

    def measure(self, batch: Any, stage: Stage) -> tuple[Tensor, Sequence[Tensor], int]:
        """`batch`: images (B, C, H, W), captions (T + 1, M), their lengths (M,) and whose they are (M,)."""
        images, captions, _, owner = batch
        following = captions[1:]
        where = following != PAD
        logits, weights = self.net(images, captions[:-1], owner, where)  # (K, V): of real words alone
        words = following[where]
        loss = self.criterion(logits, words, stage)
        sums = [loss * len(words)]
        if stage == "train" and weights is not None and self.doubly_stochastic:
            unattended = 1 - (weights * where[..., None]).sum(0)  # (M, places)
            loss = loss + self.doubly_stochastic * unattended.square().sum() / len(words)  # as the words are counted
        return loss, sums, len(words)

    def example(self, batch: Any) -> tuple[Any, ...]:
        images, captions, _, owner = batch
        own = captions[:, owner == 0]
        return images[:1], own[:-1], owner[owner == 0], own[1:] != PAD

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Samples are images; of several ranks each has other words, and every word counts the same."""
        loss, sums, words = self.measure(batch, "train")
        self.meters["train"].add(sums, words)
        self.samples_seen += len(batch[0]) * self.trainer.world_size
        return self.counted_alike(loss, words, seen=False)

    def derived(self, stage: Stage, means: dict[str, float]) -> dict[str, float]:
        if stage == "train" or not means:
            return means
        found = {**means, "perplexity": math.exp(min(means["loss"], 700.0))}
        scores = self.bleu.read_orders(self.device, self._sum_over_ranks)
        found |= {f"bleu_{n}": score for n, score in zip(ORDERS, scores, strict=True)}
        true, checked = self._sum_over_ranks(torch.tensor(self.checked, device=self.device)).tolist()
        self._tell()
        return {**found, "true_captions": true / checked} if checked else found

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self._compare(batch, batch_idx, "val", self.trainer.val_dataloaders)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        super().test_step(batch, batch_idx)
        self._compare(batch, batch_idx, "test", self.trainer.test_dataloaders)

    @torch.no_grad()
    def caption(self, images: Tensor, beam_size: int | None = None) -> list[Found]:
        """Images (B, C, H, W) to the best caption of each that is found.

        Args:
            beam_size: 1: greedy; None: the task's own.
        """
        net: Any = self.net
        limits = torch.full((len(images),), self.max_length, device=images.device)
        width = self.beam_size if beam_size is None else beam_size
        return written(net.decode_step, net.encode(images), limits, width, self.never, self.length_penalty)

    def compare(self, images: Tensor, places: Tensor, stage: Stage, data: Any) -> None:
        """Write captions of images (B, C, H, W), which count for the scores that are being read.

        Args:
            images: (B, C, H, W).
            places: (B,) their numbers in the part.
            stage: val: greedy; test: beam search.
            data: the data's module, with the `references` of a part, the words `target`, and `faults`.
        """
        found = self.caption(images, 1 if stage == "val" else None)
        texts = [data.target.decode(one.tokens) for one in found]
        references = data.references(stage)
        self.bleu.add(texts, [references[place] for place in places.tolist()])
        for place, text, one in zip(places.tolist(), texts, found, strict=True):
            self.captions.append(Caption(place, text, one.score))
            if data.checks:
                self.checked[0] += data.faults(stage, place, text) == 0
                self.checked[1] += 1

    def _compare(self, batch: Any, batch_idx: int, stage: Stage, loader: Any) -> None:
        images, places = batch[0], loader.order(0)[loader.share(batch_idx)]
        if stage == "val" and self.val_images is not None:
            chosen = (places < self.val_images).nonzero()[:, 0]
            images, places = images.index_select(0, chosen.to(images.device)), places[chosen]
        if len(places):
            self.compare(images, places, stage, self.trainer.datamodule)  # type: ignore[attr-defined]

    def _tell(self) -> None:
        """Once: what the scores are to be compared with."""
        if not self._told and self.trainer.is_global_zero:
            log.info("BLEU: %s", self.bleu.signature)
        self._told = True
