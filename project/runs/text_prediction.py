"""Classes and probabilities of texts that are in no data set."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from project.data.lines import tidy
from project.data.reviews import SentenceEncoder
from project.data.vocabulary import describe
from project.errors import UserError
from project.runs.answers import class_columns, likeliest, show
from project.runs.text_input import tell, texts
from project.runs.trained import Trained

WIDTH = 60  # of a text in a table
NAMED = 20  # lines or unknown words that a note names

Encoded = tuple[str, Tensor]  # a text and its ids, (T,)


def predict_texts(cfg: DictConfig, trained: Trained, device: torch.device) -> list[dict[str, Any]]:
    """Classify `cfg.input`: a text, or the lines of a file or of standard input; empty lines are left out.

    What the run's vocabulary lacks is told on standard error.

    Returns:
        Per text: itself, the likeliest class, that class's probability, and the `cfg.top` likeliest with theirs.

    Raises:
        UserError: nothing but empty lines, or what cannot be read.
    """
    reader = Reader(trained.data)
    read = reader.encoded(texts(str(cfg.input)))
    net = trained.task.net.to(device)

    def batches() -> Iterator[list[dict[str, Any]]]:
        while batch := list(islice(read, cfg.batch_size)):
            logits = _logits(net, [ids for _, ids in batch], device)
            found = likeliest(logits, trained.data["classes"], cfg.top)
            yield [{"text": text, **result} for (text, _), result in zip(batch, found, strict=True)]

    found = show(batches(), cfg.format, lambda result: {"text": _short(result["text"]), **class_columns(result)})
    if not found:
        raise UserError(f"input={cfg.input} is empty: give a text, or a file with a text a line")
    reader.report()
    return found


class Reader:
    """Texts to ids, and what is to be said about them in the end.

    Args:
        facts: a run's `data.json`.
    """

    def __init__(self, facts: dict[str, Any]) -> None:
        self.encoder = SentenceEncoder.from_facts(facts)
        self.unknown: dict[str, None] = {}  # a set in the order of appearance
        self.empty: list[int] = []  # numbers of lines
        self.cut: list[int] = []

    def encoded(self, given: Iterable[str]) -> Iterator[Encoded]:
        encoder = self.encoder
        for number, text in enumerate(given, 1):
            line = tidy(text, encoder.lowercase)
            ids = encoder.vocabulary.encode(line)
            if not len(ids):
                self.empty.append(number)
                continue
            if len(ids) > encoder.max_length:
                self.cut.append(number)
            self.unknown |= dict.fromkeys(encoder.vocabulary.unknown_in(line))
            yield text, torch.from_numpy(ids[: encoder.max_length])

    def report(self) -> None:
        if self.empty:
            tell(f"left out empty lines: {_listed(self.empty)}")
        if self.cut:
            tell(f"only the first {self.encoder.max_length} tokens were read of: lines {_listed(self.cut)}")
        if self.unknown:
            name = repr if self.encoder.vocabulary.kind == "words" else describe
            tell(f"not in the vocabulary: {_listed([name(token) for token in self.unknown])}")


@torch.inference_mode()
def _logits(net: torch.nn.Module, sentences: Sequence[Tensor], device: torch.device) -> Tensor:
    """Sentences of (T,) ids each to (B, K)."""
    lengths = torch.tensor([len(ids) for ids in sentences])
    return net(pad_sequence(list(sentences)).to(device), lengths)


def _listed(values: Sequence[object]) -> str:
    more = f", and {len(values) - NAMED} more" if len(values) > NAMED else ""
    return ", ".join(str(value) for value in values[:NAMED]) + more


def _short(text: str) -> str:
    """What fits into a column of a table, without signs that a terminal acts on."""
    shown = "".join(sign if sign.isprintable() else " " for sign in text)
    return shown if len(shown) <= WIDTH else f"{shown[: WIDTH - 1]}…"
