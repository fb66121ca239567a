"""Which class is this sentence? Recurrent layers read it both ways, and what they saw is pooled."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from project.nets.cells import Cell
from project.nets.kernels import Kernel
from project.nets.recurrent import Recurrent

Pooling = Literal["last", "max", "mean"]


class TextClassifier(nn.Module):
    """Embedding, layers of a recurrent cell, pooling over time, logits; what stands behind a sentence's end counts not.

    Pooling: `last` takes the top layer's final state (Sutskever et al. 2014, section 2), of both directions the state
    after their own last step; `max` takes each unit's largest output over time (Collobert et al. 2011, section 3.3.2),
    `mean` their average.

    Args:
        vocab_size: number of tokens.
        num_classes: number K of classes.
        cell: makes a cell from its input's and its state's width, e.g. `project.nets.cells.LSTM`.
        hidden_size: width of the state of each layer and direction.
        num_layers: layers of cells.
        dropout: on the embeddings, between the layers and before the logits, never from one time step to the next.
        bidirectional: reads backwards, too (Schuster and Paliwal 1997).
        pooling: from all time steps to one vector.
        embedding_size: width of the embeddings; None: `hidden_size`.
        kernel: see `Recurrent`.

    Raises:
        ValueError: an argument out of its range, or a cell that does not take these sizes.
    """

    def __init__(
        self,
        vocab_size: int,
        num_classes: int,
        cell: Callable[[int, int], Cell],
        hidden_size: int = 64,
        num_layers: int = 1,
        dropout: float = 0.5,
        bidirectional: bool = True,
        pooling: Pooling = "max",
        embedding_size: int | None = None,
        kernel: Kernel = "auto",
    ) -> None:
        super().__init__()
        if pooling not in ("last", "max", "mean"):
            raise ValueError(f"model.net.pooling must be last, max or mean, got {pooling}")
        if embedding_size is not None and embedding_size < 1:
            raise ValueError(f"model.net.embedding_size must be at least 1 (null: hidden_size), got {embedding_size}")
        width = hidden_size if embedding_size is None else embedding_size
        self.embedding = nn.Embedding(vocab_size, width)
        # at torch's deviation of 1, what a rare word begins as stays larger than what is learnt of it
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.recurrent = Recurrent(cell, width, hidden_size, num_layers, dropout, bidirectional, kernel)
        self.head = nn.Linear(self.recurrent.output_size, num_classes)
        self.dropout, self.pooling = dropout, pooling
        self.directions = 2 if bidirectional else 1

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """ids (T, B), of which column b counts up to `lengths[b]`, at least 1, to logits (B, K).

        Raises:
            ValueError: a sentence without a token.
        """
        return self.head(self._dropped(self.encode(ids, lengths)))

    def encode(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """ids (T, B) and lengths (B,) to one vector a sentence, (B, directions * hidden_size)."""
        lengths = lengths.cpu()  # where packing reads them
        if int(lengths.min()) < 1:
            raise ValueError(f"every sentence must have at least one token, got lengths {lengths.tolist()}")
        embedded = self._dropped(self.embedding(ids))  # (T, B, m)
        packed, states = self.recurrent(pack_padded_sequence(embedded, lengths, enforce_sorted=False))
        if self.pooling == "last":
            return torch.cat([state[0] for state in states[-self.directions :]], dim=-1)
        if self.pooling == "max":
            return pad_packed_sequence(packed, padding_value=-torch.inf)[0].amax(0)
        total = pad_packed_sequence(packed)[0].sum(0)
        return total / lengths.to(total.device, total.dtype)[:, None]

    def _dropped(self, values: Tensor) -> Tensor:
        return F.dropout(values, self.dropout, self.training)
