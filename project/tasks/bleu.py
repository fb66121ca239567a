"""How near translations and captions come to a person's."""

from collections.abc import Callable, Sequence

import torch
from sacrebleu.metrics.bleu import BLEU
from torch import Tensor

_ORDER = 4  # the longest n-grams that are counted


class Bleu:
    """BLEU (Papineni et al. 2002) of detokenised text against raw references, as sacrebleu has it (Post 2018).

    What is kept of the texts are sums, which may be summed over processes.

    Args:
        lowercase: small and capital letters are the same.
    """

    def __init__(self, lowercase: bool = False) -> None:
        self.metric = BLEU(lowercase=lowercase, max_ngram_order=_ORDER, force=True)  # force: no remarks on tokens
        self.sums: Tensor | None = None  # n-grams that are right and all n-grams by order, both lengths: (10,)

    def add(self, texts: Sequence[str], references: Sequence[str | Sequence[str]]) -> None:
        """Some texts, and the reference or the references of each; both may have none."""
        if not texts:
            return
        every = [[own] if isinstance(own, str) else own for own in references]
        most = max(map(len, every))
        streams = [[own[place] if place < len(own) else None for own in every] for place in range(most)]
        found = self.metric.corpus_score(texts, streams)  # type: ignore[arg-type]  # None: there is no such reference
        sums = torch.tensor([*found.counts, *found.totals, found.sys_len, found.ref_len])
        self.sums = sums if self.sums is None else self.sums + sums

    def read(self, device: torch.device, reduce: Callable[[Tensor], Tensor] = lambda sums: sums) -> float:
        """The score of all that was added, 0 to 100; `reduce` sums a tensor on `device` over the processes."""
        return self.read_orders(device, reduce)[-1]

    def read_orders(self, device: torch.device, reduce: Callable[[Tensor], Tensor] = lambda sums: sums) -> list[float]:
        """BLEU-1 to BLEU-4: with n-grams of up to so many words."""
        sums = torch.zeros(2 * _ORDER + 2, dtype=torch.int64) if self.sums is None else self.sums
        *counts, written, expected = reduce(sums.to(device)).tolist()
        right, every = counts[:_ORDER], counts[_ORDER:]
        return [
            BLEU.compute_bleu(
                right[:n], every[:n], written, expected, self.metric.smooth_method, max_ngram_order=n
            ).score
            for n in range(1, _ORDER + 1)
        ]

    @property
    def signature(self) -> str:
        """What a score must be compared with: sacrebleu's version and settings."""
        if self.sums is None:
            self.metric.corpus_score([""], [[""]])  # it does not know before how many references there are
        return str(self.metric.get_signature())
