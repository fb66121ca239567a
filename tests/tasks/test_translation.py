"""Losses by hand, translations of a network that copies, and BLEU that is summed."""

import math
from typing import Any

import pytest
import torch
from sacrebleu import corpus_bleu
from torch import Tensor, nn

from project.data.subwords import BEGIN, END, PAD
from project.nets.decoder import Decoding
from project.tasks.bleu import Bleu
from project.tasks.translation import Translation

# source (S, B), lengths (B,), target (T + 1, B): two sentences of 3 and 2 words, ends included
BATCH = (
    torch.tensor([[4, 5], [6, END], [END, PAD]]),
    torch.tensor([3, 2]),
    torch.tensor([[BEGIN, BEGIN], [4, 5], [6, END], [END, PAD]]),
)


class Copier(nn.Module):
    """Writes what it reads, word by word: each word has the logit 2, the others 0, of eight words."""

    attention = None

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, source: Tensor, lengths: Tensor, inputs: Tensor, where: Tensor) -> Tensor:
        return self.scale * nn.functional.one_hot(source[: len(inputs)], 8)[where].float()

    def encode(self, source: Tensor, lengths: Tensor) -> Decoding:
        return Decoding([(source.t(), torch.zeros_like(lengths)[:, None])], None)

    def decode_step(self, words: Tensor, decoding: Decoding) -> tuple[Tensor, Decoding]:
        ((source, places),) = decoding.states
        place = places.clamp(max=source.shape[1] - 1)
        return self.scale * nn.functional.one_hot(source.gather(1, place)[:, 0], 8).float(), Decoding(
            [(source, places + 1)], None
        )


class Endless(Copier):
    """Never ends of itself; which of equally unlikely words a beam keeps is the processor's affair."""

    def decode_step(self, words: Tensor, decoding: Decoding) -> tuple[Tensor, Decoding]:
        logits, decoding = super().decode_step(words, decoding)
        logits[:, END] -= 20
        return logits, decoding


def task(**options: Any) -> Translation:
    net: Any = Copier()
    return Translation(net, **options)


def test_the_loss_is_a_mean_over_words_without_padding() -> None:
    right = math.log(math.exp(2) / (math.exp(2) + 7))
    loss, (total,), words = task().measure(BATCH, "val")
    assert loss.item() == pytest.approx(-right)
    assert total.item() == pytest.approx(-5 * right)
    assert words == 5


def test_label_smoothing_is_for_training_alone() -> None:
    normaliser = math.log(math.exp(2) + 7)
    right, mean = 2 - normaliser, 2 / 8 - normaliser
    smoothed = task(label_smoothing=0.3).measure(BATCH, "train")[0]
    assert smoothed.item() == pytest.approx(-(0.7 * right + 0.3 * mean))
    assert task(label_smoothing=0.3).measure(BATCH, "test")[0].item() == pytest.approx(-right)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_translations_without_padding_and_within_their_limits(beam_size: int) -> None:
    found = task(beam_size=beam_size).translate(*BATCH[:2])
    assert [one.tokens for one in found] == [[4, 6], [5]]
    right = math.log(math.exp(2) / (math.exp(2) + 7))
    assert [one.score for one in found] == pytest.approx([3 * right * 6 / 8, 2 * right * 6 / 7])
    endless = torch.tensor([[4], [4]])
    copier: Any = Translation(Endless(), beam_size=beam_size)  # type: ignore[arg-type]
    assert copier.translate(endless, torch.tensor([2]))[0].tokens == [4] * 14  # 2 * 2 + 10
    copier = Translation(Endless(), max_length=3)  # type: ignore[arg-type]
    assert copier.translate(endless, torch.tensor([2]), beam_size)[0].tokens == [4] * 3


def test_unknown_words_are_written_only_if_asked() -> None:
    source, lengths = torch.tensor([[0], [END]]), torch.tensor([2])
    assert task(write_unknown=True).translate(source, lengths, 1)[0].tokens == [0]
    assert 0 not in task().translate(source, lengths, 1)[0].tokens
    assert not {PAD, BEGIN} & set(
        task().translate(torch.tensor([[PAD], [BEGIN], [END]]), torch.tensor([3]), 2)[0].tokens
    )


def test_bleu_in_parts_is_bleu_of_all() -> None:
    translations = ["A man sleeps in a green room.", "Two dogs run", "", "A girl with a red hat is sitting on a wall."]
    references = [
        "A man is sleeping in a green room.",
        "Two dogs are running.",
        "A boy.",
        "A girl in a red hat sits on a wall.",
    ]
    whole = corpus_bleu(translations, [references])
    one, other = Bleu(), Bleu()
    one.add(translations[:1], references[:1])
    other.add(translations[1:3], references[1:3])
    other.add([], [])
    other.add(translations[3:], references[3:])
    cpu = torch.device("cpu")
    assert other.read(cpu, lambda sums: sums + (0 if one.sums is None else one.sums)) == pytest.approx(
        whole.score, abs=1e-9
    )
    assert 0 < whole.score < 100
    assert Bleu().read(cpu) == 0
    assert one.signature.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert Bleu().signature == one.signature


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_size": 0}, "model.beam_size must be at least 1, got 0"),
        ({"max_length": 0}, "model.max_length must be at least 1, got 0"),
        ({"val_sentences": 0}, "model.val_sentences must be at least 1, got 0"),
        ({"length_penalty": -1.0}, r"model.length_penalty must be at least 0, got -1\.0"),
        ({"label_smoothing": 1.0}, r"model.label_smoothing must be at least 0 and below 1, got 1\.0"),
    ],
)
def test_arguments_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task(**options)
