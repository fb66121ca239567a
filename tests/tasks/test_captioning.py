"""Losses and scores of captions, against numbers made by hand."""

import math
from typing import Any

import pytest
import torch
from sacrebleu import corpus_bleu
from torch import Tensor, nn

from project.data.subwords import BEGIN, END, PAD
from project.nets.decoder import Decoding
from project.nets.search import Found
from project.tasks.bleu import Bleu
from project.tasks.captioning import Captioning

# two images; the first has the captions 4 5, and 6; the second 5 6 4
CAPTIONS = torch.tensor([[BEGIN] * 3, [4, 6, 5], [5, END, 6], [END, PAD, 4], [PAD, PAD, END]])
BATCH = (torch.zeros(2, 3, 4, 4), CAPTIONS, torch.tensor([4, 3, 5]), torch.tensor([0, 0, 1]))
WEIGHTS = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [0.25, 0.75]])  # (T, places), for every caption


class Chain(nn.Module):
    """Says after each word the next number, and END after 6; 2 nats above all others."""

    def __init__(self, attention: bool = True) -> None:
        super().__init__()
        self.attention = attention
        self.unused = nn.Parameter(torch.zeros(()))

    def logits(self, words: Tensor) -> Tensor:
        following = torch.where(words == BEGIN, 4, torch.where(words >= 6, END, words + 1))
        return 2 * nn.functional.one_hot(following, 8).float() + self.unused

    def forward(self, images: Tensor, inputs: Tensor, owner: Tensor, where: Tensor) -> tuple[Tensor, Tensor | None]:
        weights = WEIGHTS[:, None].expand(-1, inputs.shape[1], -1)
        return self.logits(inputs)[where], weights if self.attention else None

    def encode(self, images: Tensor) -> Decoding:
        return Decoding([(torch.zeros(len(images), 1),)], None)

    def decode_step(self, words: Tensor, decoding: Decoding) -> tuple[Tensor, Decoding]:
        return self.logits(words), decoding


def task(attention: bool = True, **options: Any) -> Captioning:
    net: Any = Chain(attention)
    return Captioning(net, **options)


# of the 9 words of CAPTIONS: after BEGIN 4 is likeliest, after 4 it is 5, after 5 it is 6, after 6 the end
RIGHT = [True, True, False, False, True, False, True, False, False]


def test_the_loss_is_a_mean_over_the_words_of_all_captions() -> None:
    normaliser = math.log(math.exp(2) + 7)
    total = sum(normaliser - 2 * right for right in RIGHT)
    loss, (summed,), words = task().measure(BATCH, "val")
    assert words == 9
    assert summed.item() == pytest.approx(total, rel=1e-6)
    assert loss.item() == pytest.approx(total / 9, rel=1e-6)


def test_the_doubly_stochastic_penalty() -> None:
    """lambda sum_i (1 - sum_t a_ti)^2 of each caption, over its own words alone, in training; beside the loss told."""
    sums = [WEIGHTS[:words].sum(0) for words in (3, 2, 4)]
    penalty = sum(float((1 - own).square().sum()) for own in sums)
    plain, (told,), _ = task(doubly_stochastic=0.0).measure(BATCH, "train")
    loss, (same,), _ = task(doubly_stochastic=0.5).measure(BATCH, "train")
    assert loss.item() - plain.item() == pytest.approx(0.5 * penalty / 9, rel=1e-5)
    assert same == told
    assert task(doubly_stochastic=0.5).measure(BATCH, "val")[0] == plain
    assert task(attention=False, doubly_stochastic=0.5).measure(BATCH, "train")[0] == plain


@pytest.mark.parametrize("beam_size", [1, 3])
def test_captions_end_and_are_cut(beam_size: int) -> None:
    images = torch.zeros(2, 3, 4, 4)
    found = task(beam_size=beam_size).caption(images)
    assert [one.tokens for one in found] == [[4, 5, 6], [4, 5, 6]]
    right = math.log(math.exp(2) / (math.exp(2) + 7))
    assert [one.score for one in found] == pytest.approx([4 * right * 6 / 9] * 2)
    assert [one.tokens for one in task(max_length=2).caption(images, 1)] == [[4, 5], [4, 5]]


class Data:
    """Knows words by number, and that only what begins with 4 is true of image 0."""

    checks = True

    class target:
        @staticmethod
        def decode(tokens: list[int]) -> str:
            return " ".join(map(str, tokens))

    def references(self, split: str) -> list[list[str]]:
        return [["4 5 6 7", "4 5"], ["5 6"], ["4 5 6"]]

    def faults(self, split: str, place: int, text: str) -> int:
        return 0 if place == 0 and text.startswith("4") else 1


def test_what_is_written_is_compared_with_its_own_image_s_references(monkeypatch: pytest.MonkeyPatch) -> None:
    own = task()
    found = [Found([4, 5, 6], -0.5), Found([4], -0.25)]
    monkeypatch.setattr(own, "caption", lambda images, width: found)
    own.begin("val")
    own.compare(torch.zeros(2, 3, 4, 4), torch.tensor([2, 0]), "val", Data())
    assert own.captions == [(2, "4 5 6", -0.5), (0, "4", -0.25)]
    assert own.checked == [1, 2]
    whole = corpus_bleu(["4 5 6", "4"], [["4 5 6", "4 5 6 7"], [None, "4 5"]], lowercase=True)  # type: ignore[list-item]
    assert own.bleu.read(torch.device("cpu")) == pytest.approx(whole.score)
    own.begin("test")
    assert own.captions == []
    assert own.checked == [0, 0]


def test_bleu_of_several_references_by_order_in_parts() -> None:
    """BLEU-n by hand: clipped against the most of any reference; the brevity penalty takes the nearest length."""
    texts, references = ["A dog dog runs", "a cat"], [["a dog runs", "the dog and the dog run"], ["a black cat"]]
    whole, one, other = Bleu(lowercase=True), Bleu(lowercase=True), Bleu(lowercase=True)
    whole.add(texts, references)
    one.add(texts[:1], references[:1])
    other.add(texts[1:], references[1:])
    cpu = torch.device("cpu")
    orders = whole.read_orders(cpu)
    first = one.sums
    assert first is not None
    together = other.read_orders(cpu, lambda sums: sums + first)
    assert together == pytest.approx(orders)
    brevity = math.exp(1 - 6 / 6)  # the first: 3 is nearer to 4 than 6; the second: 3, of 2; 6 words against 6
    assert orders[0] == pytest.approx(100 * brevity * 6 / 6)  # a, dog twice (the second has two), runs; a, cat
    assert orders[1] == pytest.approx(100 * brevity * math.sqrt(6 / 6 * 2 / 4))  # "a dog", "dog runs" of 3 and 1
    assert Bleu().read_orders(cpu) == [0, 0, 0, 0]
    assert whole.signature.startswith("nrefs:var|case:lc")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_size": 0}, "model.beam_size must be at least 1, got 0"),
        ({"max_length": 0}, "model.max_length must be at least 1, got 0"),
        ({"val_images": 0}, "model.val_images must be at least 1, got 0"),
        ({"length_penalty": -1.0}, r"model.length_penalty must be at least 0, got -1\.0"),
        ({"doubly_stochastic": -1.0}, r"model.doubly_stochastic must be at least 0, got -1\.0"),
        ({"label_smoothing": 1.0}, r"model.label_smoothing must be at least 0 and below 1, got 1\.0"),
    ],
)
def test_arguments_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task(**options)


def test_an_example_is_one_image_with_its_own_captions() -> None:
    images, inputs, owner, where = task().example(BATCH)
    assert images.shape == (1, 3, 4, 4)
    assert torch.equal(inputs, CAPTIONS[:-1, :2])
    assert owner.tolist() == [0, 0]
    assert where.sum() == 5
