"""Looks at a picture and writes what is in it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from project.nets.cells import Cell
from project.nets.decoder import Decoder, Decoding, check_sizes
from project.nets.feature_map import FeatureMap


class Captioner(nn.Module):
    """A ConvNet's map of features, and a decoder that begins with their mean.

    Without attention that is all that the decoder knows of the picture (Vinyals et al. 2015, "Show and tell", who give
    it as the first input). With attention it looks, before each word, at places of the map (Xu et al. 2015, "Show,
    attend and tell": the soft attention of section 4.2, its context times the gate beta, the first state from the mean
    as in section 3.1.2). Other than in the paper the attention is asked by the state and the previous word together,
    W (h + x) for W h in the energy, x being the word's part of the cell's input: the paper's state h does not know yet
    that the word before was "red", and cannot look for the red figure when it is to say what that is.

    Each place knows where it is by two coordinates from -1 to 1 beside its features: what is said of two figures
    depends on where they are, which features that are the same everywhere do not tell. Their first weights in the
    context are as large as those of all features together: with smaller ones, relations are learned last or never.

    Args:
        encoder: the ConvNet.
        vocab_size: number V of words.
        cell: makes a cell from its input's and its state's width.
        hidden_size: width n of the decoder's states.
        embedding_size: width of the embeddings and of the layer before the logits; None: hidden_size.
        num_layers: layers of the decoder.
        dropout: of `project.nets.decoder.Decoder`.
        attention: false leaves the mean of the features as all that the decoder knows.
        attention_size: width of the attention's hidden layer; None: hidden_size.
        word_asks: false: the attention is asked by the state alone, as in the paper.
        tie_weights: the embedding is the output matrix, too.

    Raises:
        ValueError: an argument out of its range, or attention to a map of a single place.
    """

    def __init__(
        self,
        encoder: FeatureMap,
        vocab_size: int,
        cell: Callable[[int, int], Cell],
        hidden_size: int = 256,
        embedding_size: int | None = None,
        num_layers: int = 1,
        dropout: float = 0.3,
        attention: bool = True,
        attention_size: int | None = None,
        word_asks: bool = True,
        tie_weights: bool = True,
    ) -> None:
        super().__init__()
        check_sizes(dropout, hidden_size=hidden_size, num_layers=num_layers)
        height, width = encoder.size
        if attention and height * width < 2:
            raise ValueError(
                f"attention needs places to choose from, and this network's map of features is {height}x{width}: "
                "choose larger images (data.image_size), another net=, or model.net.attention=false"
            )
        self.encoder = encoder
        lines = [torch.linspace(-1, 1, size) if size > 1 else torch.zeros(1) for size in (height, width)]
        self.where: Tensor
        self.register_buffer("where", torch.cartesian_prod(*lines), persistent=False)  # (h w, 2)
        self.decoder = Decoder(
            vocab_size,
            cell,
            hidden_size,
            embedding_size,
            num_layers,
            dropout,
            attention,
            attention_size,
            annotation_size=encoder.channels + 2,
            summary_size=encoder.channels,
            tie_weights=tie_weights,
            gated=True,
            word_asks=word_asks,
        )
        if self.decoder.attention is not None:
            nn.init.normal_(self.decoder.attention.V.weight[:, encoder.channels :])

    def forward(
        self, images: Tensor, inputs: Tensor, owner: Tensor, where: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Logits (T, M, V) of the words after `inputs` (T, M), and the weights (T, M, h w) of the attention, if any.

        Args:
            images: (B, C, H, W).
            inputs: M captions, column m of image number owner[m].
            owner: (M,).
            where: (T, M), True at K places: the logits of these alone, (K, V).
        """
        return self.decoder(self.encode(images, owner), inputs, where)

    def encode(self, images: Tensor, owner: Tensor | None = None) -> Decoding:
        """Images (B, C, H, W) to where the captions `owner` (M,) of them begin; None: one of each image."""
        features = self.encoder(images).flatten(2).transpose(1, 2)  # (B, h w, C')
        mean = features.mean(1)
        summaries = [mean if owner is None else mean.index_select(0, owner)] * len(self.decoder.bridges)
        attention = self.decoder.attention
        if attention is None:
            return self.decoder.begin(summaries, None)
        where = self.where.to(features.dtype).expand(len(features), -1, -1)
        memory = attention.remember_all(torch.cat([features, where], dim=-1))
        return self.decoder.begin(summaries, memory if owner is None else memory.of(owner))

    def decode_step(self, words: Tensor, decoding: Decoding) -> tuple[Tensor, Decoding]:
        """The previous words (B,) and where their captions stand to the logits (B, V) of the next, and onwards."""
        return self.decoder.step(words, decoding)
