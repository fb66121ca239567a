"""Which words of the source, or places of a picture, matter for the next word of the target."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from project.nets.encoder import packed_like


class Memory(NamedTuple):
    """What of a batch of source sentences, or pictures, the attention needs at every step, computed once.

    Shapes: keys (B, S, A), values (B, S, n), bias (B, S): 0 at words and places, minus infinity at padding.
    """

    keys: Tensor
    values: Tensor
    bias: Tensor

    def repeated(self, times: int) -> "Memory":
        """Each sentence `times` times in a row, as beams want it."""
        return Memory(*(part.repeat_interleave(times, 0) for part in self))

    def of(self, owner: Tensor) -> "Memory":
        """For M sentences those of the rows `owner` (M,)."""
        return Memory(*(part.index_select(0, owner) for part in self))


class AdditiveAttention(nn.Module):
    """e_ij = v^T tanh(W s_{i-1} + U h_j), a_i = softmax(e_i), c_i = sum_j a_ij V h_j.

    Bahdanau et al. 2015, section 3.1 and appendix A.1.2. The paper multiplies the context by matrices of the decoder
    (its C); the first of them is V here, and as it is linear it is applied to each h_j once, not to c_i at every step.

    Args:
        state_size: width n of the decoder's state s, and of the context.
        annotation_size: width of the encoder's outputs h.
        attention_size: width A of the hidden layer.
    """

    def __init__(self, state_size: int, annotation_size: int, attention_size: int) -> None:
        super().__init__()
        self.W = nn.Linear(state_size, attention_size, bias=False)
        self.U = nn.Linear(annotation_size, attention_size)
        self.V = nn.Linear(annotation_size, state_size, bias=False)
        self.v = nn.Parameter(torch.empty(attention_size).uniform_(-1, 1) * (3 / attention_size) ** 0.5)

    def remember(self, annotations: PackedSequence) -> Memory:
        """The annotations h of B sentences, each annotation_size wide."""
        keys, lengths = _padded(self.U(annotations.data), annotations)
        values, _ = _padded(self.V(annotations.data), annotations)
        padding = torch.arange(keys.shape[1]) >= lengths[:, None]  # (B, S)
        bias = torch.zeros(padding.shape, dtype=keys.dtype).masked_fill_(padding, -torch.inf)
        return Memory(keys, values, bias.to(keys.device))

    def remember_all(self, annotations: Tensor) -> Memory:
        """Annotations (B, S, annotation_size), none of which is padding."""
        return Memory(self.U(annotations), self.V(annotations), annotations.new_zeros(annotations.shape[:2]))

    def forward(self, state: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """The state s_{i-1} (B, n) to the context c_i (B, n) and the weights a_i (B, S), which sum to 1."""
        hidden = torch.tanh(memory.keys + self.W(state)[:, None])  # (B, S, A)
        weights = torch.softmax(hidden @ self.v + memory.bias, dim=-1)
        return torch.bmm(weights[:, None], memory.values).squeeze(1), weights


def _padded(rows: Tensor, like: PackedSequence) -> tuple[Tensor, Tensor]:
    """(B, S, n), and the sentences' lengths."""
    return pad_packed_sequence(packed_like(rows, like), batch_first=True)
