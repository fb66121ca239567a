"""Reads sentences of unequal length, from both ends."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from project.nets.cells import Cell
from project.nets.recurrent import Recurrent


class Encoder(nn.Module):
    """Bidirectional layers of a cell; padding is packed away, so that it costs nothing and changes nothing.

    Between two layers both directions are mapped to one state's width: MUT1 and MUT2 add their input to the state, so
    they want it as wide as that.
    """

    def __init__(
        self, vocab_size: int, embedding_size: int, cell: Callable[[int, int], Cell], hidden_size: int, num_layers: int
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        ins = [embedding_size, *[2 * hidden_size] * (num_layers - 1)]
        self.inputs = nn.ModuleList(
            nn.Identity() if size == hidden_size else nn.Linear(size, hidden_size, bias=False) for size in ins
        )
        self.layers = nn.ModuleList(Recurrent(cell, hidden_size, hidden_size, bidirectional=True) for _ in ins)

    def forward(self, ids: Tensor, lengths: Tensor, dropout: float) -> tuple[PackedSequence, list[Tensor]]:
        """ids (S, B) and lengths (B,) on the CPU to annotations, 2n wide, and last states by layer, (B, 2n parts)."""
        words = pack_padded_sequence(ids, lengths, enforce_sorted=False)
        sequence = packed_like(self.embedding(words.data), words)
        last = []
        for into, layer in zip(self.inputs, self.layers, strict=True):
            sequence = self._dropped(sequence, dropout)
            sequence, states = layer(packed_like(into(sequence.data), words))
            last.append(torch.cat([part for state in states for part in state], dim=-1))
        return self._dropped(sequence, dropout), last

    def _dropped(self, sequence: PackedSequence, dropout: float) -> PackedSequence:
        if not self.training or not dropout:
            return sequence
        sizes, data = sequence.batch_sizes.tolist(), sequence.data
        rows = torch.cat([torch.arange(size) for size in sizes]).to(data.device)  # of which sentence each word is
        return packed_like(data * shared_mask(data[: sizes[0]], dropout).index_select(0, rows), sequence)


def shared_mask(like: Tensor, dropout: float) -> Tensor:
    """Dropout's mask of one time step, for all of them (Gal and Ghahramani 2016): 0, or 1 / (1 - dropout)."""
    return F.dropout(torch.ones_like(like), dropout)


def packed_like(values: Tensor, sequence: PackedSequence) -> PackedSequence:
    """Other values (N, ...) for the words of a packed batch."""
    return PackedSequence(values, sequence.batch_sizes, sequence.sorted_indices, sequence.unsorted_indices)
