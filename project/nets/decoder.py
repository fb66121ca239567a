"""Writes a sentence word by word, from a summary of what it is about and from what it attends to."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from project.nets.attention import AdditiveAttention, Memory
from project.nets.cells import Cell, State
from project.nets.encoder import shared_mask
from project.nets.recurrent import Recurrent


class Decoding(NamedTuple):
    """Where a sentence stands: the states of the decoder's layers, and what the attention reads (None: without)."""

    states: list[State]
    memory: Memory | None


class Decoder(nn.Module):
    """Layers of a cell with additive attention (Bahdanau et al. 2015).

    The state begins as tanh of a linear map of a summary (appendix A.2.2). Its input is a linear map of the previous
    word's embedding and of the context, as wide as the state, which MUT1 and MUT2 need. The next word's logits come
    from the new state, the context and the previous word through one hidden layer (Pascanu et al. 2014's deep output,
    as in appendix A.2.2; tanh as in Luong et al. 2015, equation 5), so that the product with the vocabulary is a small
    one.

    Args:
        vocab_size: number V of tokens that are written.
        cell: makes a cell from its input's and its state's width.
        hidden_size: width n of the states.
        embedding_size: width of the embeddings and of the layer before the logits; None: hidden_size.
        num_layers: layers of the cell.
        dropout: on embeddings, of a sentence the same at all its words (Gal and Ghahramani 2016); on the outputs of the
            layers and before the logits. Never from one state to the next.
        attention: false leaves the summary as all that the decoder knows.
        attention_size: width of the attention's hidden layer; None: hidden_size.
        annotation_size: width of what is attended to.
        summary_size: width of the summary; None: as the last states of both directions of an encoder of this cell.
        tie_weights: the embedding is the output matrix, too (Press and Wolf 2017).
        gated: the context is multiplied by a gate beta = sigmoid(w h), a number (Xu et al. 2015, section 4.2.1).
        word_asks: the attention is steered by the state and the previous word's input together; by default by the
            state alone, which does not know that word yet.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        vocab_size: int,
        cell: Callable[[int, int], Cell],
        hidden_size: int = 256,
        embedding_size: int | None = None,
        num_layers: int = 1,
        dropout: float = 0.3,
        attention: bool = True,
        attention_size: int | None = None,
        annotation_size: int = 512,
        summary_size: int | None = None,
        tie_weights: bool = True,
        gated: bool = False,
        word_asks: bool = False,
    ) -> None:
        super().__init__()
        width = hidden_size if embedding_size is None else embedding_size
        between = hidden_size if attention_size is None else attention_size
        check_sizes(
            dropout, hidden_size=hidden_size, embedding_size=width, attention_size=between, num_layers=num_layers
        )
        self.dropout, self.word_asks = dropout, word_asks
        self.embedding = nn.Embedding(vocab_size, width)
        self.into = nn.Linear(width, hidden_size)
        self.recurrent = Recurrent(cell, hidden_size, hidden_size, num_layers, dropout)
        parts = len(self.recurrent.initial(0, self.into.weight)[0])  # of a state: an LSTM's has two
        size = parts * hidden_size
        self.bridges = nn.ModuleList(nn.Linear(summary_size or 2 * size, size) for _ in range(num_layers))
        self.attention = AdditiveAttention(hidden_size, annotation_size, between) if attention else None
        self.readout = nn.Linear(hidden_size * (2 if attention else 1) + width, width)
        self.head = nn.Linear(width, vocab_size)
        self.scale = 1.0
        if tie_weights:
            nn.init.normal_(self.embedding.weight, std=width**-0.5)  # logits of a usual size
            self.head.weight = self.embedding.weight
            self.scale = width**0.5  # words as large as the source's (Vaswani et al. 2017, section 3.4)
        self.gate = nn.Linear(hidden_size, 1) if attention and gated else None

    def begin(self, summaries: list[Tensor], memory: Memory | None) -> Decoding:
        """From summaries by layer, (B, summary_size) each, to where every sentence begins."""
        n = self.recurrent.hidden_size
        states = [torch.tanh(bridge(h)).split(n, dim=-1) for bridge, h in zip(self.bridges, summaries, strict=True)]
        return Decoding(states, memory)

    def forward(self, decoding: Decoding, inputs: Tensor, where: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Words (T, B) to logits (T, B, V) of the words after them, and to the attention's weights (T, B, S), if any.

        With `where` (T, B), True at K places, the logits of these alone, (K, V): the rest is never computed.
        """
        features, alignments = self._run(decoding, inputs)
        if where is not None:
            chosen = where.flatten().nonzero()[:, 0]
            features = [feature.flatten(0, 1).index_select(0, chosen) for feature in features]
        return self._logits(features), torch.stack(alignments) if alignments else None

    def step(self, words: Tensor, decoding: Decoding) -> tuple[Tensor, Decoding]:
        """The previous words (B,) and where their sentences stand to the logits (B, V) of the next, and onwards."""
        embedded = self._embed(words)
        x, context, _ = self._attend(self.into(embedded), decoding)
        output, states = self.recurrent.step(x, decoding.states)
        return self._logits([output, *context, embedded]), Decoding(states, decoding.memory)

    def _run(self, decoding: Decoding, inputs: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """All steps: what the logits are made of, (T, B, ...) each, and the attention's weights."""
        embedded = self._embed(inputs)  # (T, B, m)
        xs = self.into(embedded)
        if decoding.memory is None:
            return [self.recurrent(xs, decoding.states)[0], embedded], []
        outputs, contexts, alignments = [], [], []
        for x in xs:
            x, context, weights = self._attend(x, decoding)
            output, states = self.recurrent.step(x, decoding.states)
            decoding = Decoding(states, decoding.memory)
            outputs.append(output)
            contexts += context
            alignments += weights
        return [torch.stack(outputs), torch.stack(contexts), embedded], alignments

    def _attend(self, x: Tensor, decoding: Decoding) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        if self.attention is None or decoding.memory is None:
            return x, [], []
        state = decoding.states[-1][0]
        context, weights = self.attention(state + x if self.word_asks else state, decoding.memory)
        if self.gate is not None:
            context = context * torch.sigmoid(self.gate(state))
        return x + context, [context], [weights]

    def _embed(self, words: Tensor) -> Tensor:
        """(..., B) to (..., B, m)."""
        embedded = self.embedding(words) * self.scale
        return embedded * shared_mask(embedded[0], self.dropout) if self.training and self.dropout else embedded

    def _logits(self, features: list[Tensor]) -> Tensor:
        hidden = torch.tanh(self.readout(torch.cat(features, dim=-1)))
        return self.head(F.dropout(hidden, self.dropout, self.training))


def check_sizes(dropout: float, **sizes: int) -> None:
    """The laws of a decoder's arguments, for whatever network holds it; a ValueError where one is broken."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"model.net.{name} must be at least 1, got {size}")
    if not 0 <= dropout < 1:
        raise ValueError(f"model.net.dropout must be at least 0 and below 1, got {dropout}")
