"""Which token comes next? A recurrent network over the tokens so far."""

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from project.nets.cells import Cell, State
from project.nets.kernels import Kernel
from project.nets.recurrent import Recurrent


class LanguageModel(nn.Module):
    """Embedding, layers of a recurrent cell, logits of the next token (Mikolov et al. 2010).

    Args:
        vocab_size: number V of tokens.
        cell: makes a cell from its input's and its state's width, e.g. `project.nets.cells.LSTM`.
        hidden_size: width n of the states.
        embedding_size: width of the embedding; None: that of the states, which some cells need.
        num_layers: layers of cells.
        dropout: on the outputs of every layer, never from one time step to the next (Zaremba et al. 2014, section 3.1).
        tie_weights: the embedding is the output matrix, too (Press and Wolf 2017).
        kernel: see `Recurrent`.

    Raises:
        ValueError: tied weights of two widths; sizes, a dropout or a kernel that `Recurrent` refuses.
    """

    def __init__(
        self,
        vocab_size: int,
        cell: Callable[[int, int], Cell],
        hidden_size: int = 256,
        embedding_size: int | None = None,
        num_layers: int = 2,
        dropout: float = 0.1,
        tie_weights: bool = False,
        kernel: Kernel = "auto",
    ) -> None:
        super().__init__()
        width = embedding_size or hidden_size
        if tie_weights and width != hidden_size:
            raise ValueError(
                f"tie_weights needs an embedding as wide as the states, got {width} and {hidden_size}: "
                "leave embedding_size at null"
            )
        self.embedding = nn.Embedding(vocab_size, width)
        self.recurrent = Recurrent(cell, width, hidden_size, num_layers, dropout, kernel=kernel)
        self.dropout = dropout
        self.head = nn.Linear(hidden_size, vocab_size)
        if tie_weights:
            nn.init.normal_(self.embedding.weight, std=hidden_size**-0.5)  # logits of a usual size
            self.head.weight = self.embedding.weight

    def forward(self, ids: Tensor, states: Sequence[State] | None = None) -> tuple[Tensor, list[State]]:
        """ids (T, B) and the states before them (None: zeros) to logits (T, B, V) and the states after them."""
        outputs, following = self.recurrent(self.embedding(ids), states)
        return self.head(F.dropout(outputs, self.dropout, self.training)), following
