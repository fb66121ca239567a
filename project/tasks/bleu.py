"""How near translations come to a person's."""

from collections.abc import Callable, Sequence

import torch
from sacrebleu.metrics.bleu import BLEU
from torch import Tensor

_ORDER = 4  # the longest n-grams that are counted


class Bleu:
    """BLEU (Papineni et al. 2002) of detokenised text against one raw reference each, as sacrebleu has it (Post 2018).

    What is kept of the translations are sums, which may be summed over processes.
    """

    def __init__(self) -> None:
        self.metric = BLEU(max_ngram_order=_ORDER, force=True)  # force: no remarks on what looks tokenised
        self.sums: Tensor | None = None  # n-grams that are right and all n-grams by order, both lengths: (10,)

    def add(self, translations: Sequence[str], references: Sequence[str]) -> None:
        """Some sentences; both may have none."""
        if not translations:
            return
        found = self.metric.corpus_score(translations, [references])
        sums = torch.tensor([*found.counts, *found.totals, found.sys_len, found.ref_len])
        self.sums = sums if self.sums is None else self.sums + sums

    def read(self, device: torch.device, reduce: Callable[[Tensor], Tensor] = lambda sums: sums) -> float:
        """The score of all that was added, 0 to 100; `reduce` sums a tensor on `device` over the processes."""
        sums = torch.zeros(2 * _ORDER + 2, dtype=torch.int64) if self.sums is None else self.sums
        *counts, translated, expected = reduce(sums.to(device)).tolist()
        right, every = counts[:_ORDER], counts[_ORDER:]
        found = BLEU.compute_bleu(right, every, translated, expected, self.metric.smooth_method)
        return found.score

    @property
    def signature(self) -> str:
        """What a score must be compared with: sacrebleu's version and settings."""
        self.metric.corpus_score([""], [[""]])  # it does not know before that it has one reference
        return str(self.metric.get_signature())
