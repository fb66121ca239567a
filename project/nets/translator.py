"""Reads a sentence, writes another: encoder, decoder, and attention between the two."""

from collections.abc import Callable

from torch import Tensor, nn

from project.nets.cells import Cell
from project.nets.decoder import Decoder, Decoding, check_sizes
from project.nets.encoder import Encoder


class Translator(nn.Module):
    """Sequence to sequence (Sutskever et al. 2014), with additive attention (Bahdanau et al. 2015).

    The decoder's state begins with the encoder's last states (Bahdanau et al., appendix A.2.2, where those of one
    direction are used).

    Args:
        source_vocab_size: number of tokens that are read.
        target_vocab_size: number V of tokens that are written.
        cell: makes a cell from its input's and its state's width.
        hidden_size: width n of the states, in the encoder of each direction's.
        embedding_size: width of the embeddings and of the layer before the logits; None: hidden_size.
        num_layers: layers of the encoder, and of the decoder.
        dropout: of `Decoder`; and on the encoder's embeddings and outputs, of a sentence the same at all its words.
        attention: false leaves the encoder's last states as all that the decoder knows.
        attention_size: width of the attention's hidden layer; None: hidden_size.
        tie_weights: the target's embedding is the output matrix, too (Press and Wolf 2017).

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        source_vocab_size: int,
        target_vocab_size: int,
        cell: Callable[[int, int], Cell],
        hidden_size: int = 256,
        embedding_size: int | None = None,
        num_layers: int = 1,
        dropout: float = 0.3,
        attention: bool = True,
        attention_size: int | None = None,
        tie_weights: bool = True,
    ) -> None:
        super().__init__()
        width = hidden_size if embedding_size is None else embedding_size
        self.dropout = dropout
        check_sizes(dropout, hidden_size=hidden_size, embedding_size=width, num_layers=num_layers)
        self.encoder = Encoder(source_vocab_size, width, cell, hidden_size, num_layers)
        self.decoder = Decoder(
            target_vocab_size,
            cell,
            hidden_size,
            embedding_size,
            num_layers,
            dropout,
            attention,
            attention_size,
            annotation_size=2 * hidden_size,
            tie_weights=tie_weights,
        )

    def forward(self, source: Tensor, lengths: Tensor, inputs: Tensor, where: Tensor | None = None) -> Tensor:
        """Source (S, B), its lengths (B,) and words of the target (T, B) to logits (T, B, V) of the words after them.

        With `where` (T, B), True at K places, the logits of these alone, (K, V): the rest is never computed.
        """
        return self.decoder(self.encode(source, lengths), inputs, where)[0]

    def alignments(self, source: Tensor, lengths: Tensor, inputs: Tensor) -> Tensor:
        """The weights (T, B, S) with which the words after `inputs` (T, B) attend to the source.

        Raises:
            ValueError: this network has no attention.
        """
        weights = self.decoder(self.encode(source, lengths), inputs)[1]
        if weights is None:
            raise ValueError("a translator with model.net.attention=false aligns no words")
        return weights

    def encode(self, source: Tensor, lengths: Tensor) -> Decoding:
        """Source (S, B), of which column b counts up to `lengths[b]`, at least 1, to where every translation begins."""
        lengths = lengths.cpu()  # where packing reads them
        annotations, last = self.encoder(source, lengths, self.dropout)
        attention = self.decoder.attention
        return self.decoder.begin(last, None if attention is None else attention.remember(annotations))

    def decode_step(self, words: Tensor, decoding: Decoding) -> tuple[Tensor, Decoding]:
        """The previous words (B,) and where their translations stand to the logits (B, V) of the next, and onwards."""
        return self.decoder.step(words, decoding)
