"""The passage that pictures of a language model are drawn over: how the text that is validated on begins."""

from typing import Any

from project.data.streams import IGNORED
from project.data.vocabulary import Vocabulary


class HeldOutText:
    """The first tokens of the first stream of the validation text, which the first rank reads.

    Args:
        length: tokens, at most.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self.ids: list[int] = []
        self.ended = False

    def add(self, batch: Any, batch_idx: int) -> None:
        """Inputs and targets (T, B) of a batch of a validation; batches come in their order, from the first."""
        if batch_idx == 0:
            self.ids, self.ended = [], False
        if len(self.ids) >= self.length or self.ended:
            return
        inputs, targets = (part[: self.length, 0].tolist() for part in batch)
        there = targets.index(IGNORED) if IGNORED in targets else len(targets)
        self.ended = there < len(targets)
        self.ids = [*self.ids[:-1], *inputs[:there], *targets[:there][-1:]][: self.length]


def label(vocabulary: Vocabulary, number: int) -> str:
    """A token as it is drawn: a byte that is no ASCII as a lone surrogate, what the vocabulary lacks as �."""
    token = vocabulary.tokens[number]
    if number == vocabulary.UNKNOWN and vocabulary.kind != "words":
        return "\N{REPLACEMENT CHARACTER}"
    if vocabulary.kind != "bytes":
        return token
    value = int(token, 16)
    return chr(value) if value < 0x80 else chr(0xDC00 + value)
