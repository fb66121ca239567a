"""Which sequence does a network find the likeliest? Greedy and beam search, over a batch of sequences at once."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from project.nets.cells import State

# previous tokens (N,) and states, each part (N, n), to the logits (N, V) of the next tokens, and the states after them
Step = Callable[[Tensor, list[State]], tuple[Tensor, list[State]]]


class Found(NamedTuple):
    """A sequence, without its end, and its log-probability, end included, divided by `length_norm`."""

    tokens: list[int]
    score: float


def length_norm(lengths: Tensor, penalty: float) -> Tensor:
    """((5 + length) / 6)^penalty (Wu et al. 2016, equation 14): with 0, longer sequences are always less likely."""
    return ((5 + lengths) / 6) ** penalty


@torch.no_grad()
def greedy(
    step: Step,
    states: list[State],
    limits: Tensor,
    begin: int,
    end: int,
    never: Sequence[int] = (),
    length_penalty: float = 0.0,
) -> list[Found]:
    """The likeliest token at every step.

    Args:
        step: the network.
        states: where it begins, B rows in each part.
        limits: (B,) tokens at most, each at least 1, the end included; what has no end by then is cut.
        begin: the token before the first.
        end: the token after the last.
        never: tokens that are left out.
        length_penalty: of `length_norm`, for the score alone.
    """
    words, lengths = torch.full_like(limits, begin), torch.zeros_like(limits)
    totals, done = torch.zeros(len(limits), device=limits.device), torch.zeros_like(limits, dtype=torch.bool)
    written: list[Tensor] = []
    while not done.all():
        logits, states = step(words, states)
        values, words = _log_probabilities(logits, never).max(-1)
        totals = totals + values.masked_fill(done, 0.0)
        words = words.masked_fill(done, end)
        written.append(words)
        lengths = lengths + ~done
        done = done | (words == end) | (lengths == limits)
    return _found(torch.stack(written, 1), totals / length_norm(lengths, length_penalty), end)


@torch.no_grad()
def beam_search(
    step: Step,
    states: list[State],
    limits: Tensor,
    begin: int,
    end: int,
    width: int,
    never: Sequence[int] = (),
    length_penalty: float = 0.0,
) -> list[Found]:
    """The best of what is found by keeping the likeliest beginnings (Sutskever et al. 2014, section 3.2).

    A sequence that ends leaves the beam and its place there; the search is over when there is no place left, or when
    nothing that is left can become better than the best sequence that has ended. Only where none ends within its
    limit, the best is cut there. A beam of one is greedy search.

    Args:
        step: the network, for the beams of all sequences: N = B * width rows, those of a sequence side by side.
        states: where it begins, B rows in each part.
        width: beginnings that are kept of each sequence, at least 1.
        length_penalty: of `length_norm`, at least 0.
        limits, begin, end, never: see `greedy`.
    """
    states = [tuple(part.repeat_interleave(width, 0) for part in state) for state in states]
    words = torch.full((len(limits) * width,), begin, device=limits.device)
    beam = _Beam(limits, width, end, length_penalty)
    while not beam.done.all():
        logits, states = step(words, states)
        rows, words = beam.extend(_log_probabilities(logits, never))
        states = [tuple(part.index_select(0, rows) for part in state) for state in states]
    return _found(beam.best, beam.best_scores, end)


class _Beam:
    """The beginnings that are kept of B sequences, and the best of each that has ended.

    Shapes: totals, the log-probabilities of the beginnings, (B, width), minus infinity where a place is empty; written
    (B, width, L); places (B,), how many there are still; best (B, L); best_scores (B,).
    """

    def __init__(self, limits: Tensor, width: int, end: int, penalty: float) -> None:
        batch, longest, device = len(limits), int(limits.max()), limits.device
        self.limits, self.width, self.end, self.penalty = limits, width, end, penalty
        self.totals = torch.full((batch, width), -torch.inf, device=device)
        self.totals[:, 0] = 0.0  # at first all are the same one
        self.written = torch.full((batch, width, longest), end, device=device)
        self.places = torch.full((batch,), width, device=device)
        self.best = torch.full((batch, longest), end, device=device)
        self.best_scores = torch.full((batch,), -torch.inf, device=device)
        self.done = torch.zeros(batch, dtype=torch.bool, device=device)
        self.length = 0

    def extend(self, log_probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """The next tokens' log-probabilities (B * width, V) to the rows that go on, and their tokens, (B * width,)."""
        vocab_size = log_probabilities.shape[1]
        candidates = self.totals[:, :, None] + log_probabilities.unflatten(0, (-1, self.width))  # (B, width, V)
        totals, chosen = candidates.flatten(1).topk(self.width)  # the likeliest first
        parents, words = chosen // vocab_size, chosen % vocab_size
        self.written = self.written.gather(1, parents[:, :, None].expand_as(self.written))
        self.written[:, :, self.length] = words
        self.length += 1
        ranks = torch.arange(self.width, device=words.device)
        totals = totals.masked_fill(ranks >= self.places[:, None], -torch.inf)
        ended = (words == self.end) & totals.isfinite()
        self._keep(totals.masked_fill(~ended, -torch.inf))
        self.places = self.places - ended.sum(1)
        self.totals = totals.masked_fill(ended, -torch.inf)
        at_limit = self.limits == self.length
        self._keep(self.totals.masked_fill(~(at_limit & self.best_scores.isinf())[:, None], -torch.inf))
        within_reach = self.totals.amax(1) / length_norm(self.limits, self.penalty)  # if nothing more were unlikely
        self.done = self.done | at_limit | (self.best_scores >= within_reach)
        self.totals = self.totals.masked_fill(self.done[:, None], -torch.inf)
        first = torch.arange(len(words), device=words.device)[:, None] * self.width
        return (first + parents).flatten(), words.flatten()

    def _keep(self, totals: Tensor) -> None:
        """Of sequences of the present length with these log-probabilities (B, width), what is better than the best."""
        length = torch.full_like(self.limits, self.length)
        scores, places = (totals / length_norm(length, self.penalty)[:, None]).max(1)
        better = scores > self.best_scores
        own = self.written[torch.arange(len(places), device=places.device), places]
        self.best = torch.where(better[:, None], own, self.best)
        self.best_scores = torch.where(better, scores, self.best_scores)


def _log_probabilities(logits: Tensor, never: Sequence[int]) -> Tensor:
    values = torch.log_softmax(logits if logits.dtype == torch.float64 else logits.float(), -1)
    values[:, list(never)] = -torch.inf
    return values


def _found(rows: Tensor, scores: Tensor, end: int) -> list[Found]:
    """(B, L) tokens up to the first `end`."""
    cut = [row[: row.index(end)] if end in row else row for row in rows.tolist()]
    return [Found(tokens, score) for tokens, score in zip(cut, scores.tolist(), strict=True)]
