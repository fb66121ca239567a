"""Answers questions about pictures: a recurrent network reads the question and looks at the picture meanwhile."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from project.nets.attention import AdditiveAttention, Memory
from project.nets.cells import Cell, State
from project.nets.feature_map import FeatureMap
from project.nets.mlp import fully_connected
from project.nets.recurrent import Recurrent

Sees = Literal["both", "question", "picture"]
# How the attention begins, so that it is learned sooner. `v tanh(W h + U c)` matches h with c only where tanh bends:
# both terms are near 1 at first, and W h stays there, as h is normalised. Two coordinates count as much as dozens of
# features.
SHARPNESS = 3.0  # v, in units of the usual one, and so is U
EDGE = 4.0  # the first row is at -4, the last one at 4


class VisualQA(nn.Module):
    """Recurrent attention over the map of features (Zhu et al. 2016, Visual7W, section 5), the answer as a class.

    At each step t the state attends to the places c_j of the map, and what it sees is an input beside the word v_t:
    e_tj = w^T tanh(W_h h_{t-1} + W_c c_j), a_t = softmax(e_t) (equations 8 and 9), r_t = sum_j a_tj W_r c_j (equation
    10, with the matrix that the gates multiply it by), h_t = cell(W_v v_t + r_t, h_{t-1}).

    Other than in the paper: the picture is no word before the first; where the paper's network goes on to write the
    answer's words, here it takes `glimpses` further steps, a learned vector in a word's place, and the last state and
    what it sees go through hidden layers to the logits. Places know where they are: each has its row and its column
    beside its features, and c_j is a layer of rectified units over both, so that a place can be "red and on the left";
    what W_h multiplies is h_{t-1} and the mean of the question's words, each normalised (Ba et al. 2016): while nothing
    is found by it yet, a state forgets which colour was asked for. With `every_word=false` the question is read first,
    at the speed of layers that need no picture, and only the glimpses look.

    Without attention it is Santoro et al.'s (2017) baseline, a ConvNet and an MLP: the whole map and the question's
    last state side by side. Without the question, or the picture, the same for what is left.

    Args:
        net: the ConvNet for the pictures; see `FeatureMap`.
        image_shape: (C, H, W) of the pictures.
        vocab_size: number of words.
        num_classes: number K of answers.
        cell: makes a cell from its input's and its state's width.
        hidden_size: width n of the states and of the words' embeddings.
        num_layers: layers of cells; the top one's state attends.
        attention: false: the whole map goes into the hidden layers.
        attention_size: width of the attention's hidden layer.
        every_word: attend at every word, too, as in the paper.
        glimpses: steps after the question's last word.
        hidden: widths of the layers between what was read and seen and the logits.
        dropout: before each of them.
        sees: `both`, or for baselines the `question` or the `picture` alone; the other is not looked at.
        frozen: the ConvNet stays as it is.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        net: nn.Module,
        image_shape: Sequence[int],
        vocab_size: int,
        num_classes: int,
        cell: Callable[[int, int], Cell],
        hidden_size: int = 128,
        num_layers: int = 1,
        attention: bool = True,
        attention_size: int = 64,
        every_word: bool = True,
        glimpses: int = 2,
        hidden: Sequence[int] = (128,),
        dropout: float = 0.0,
        sees: Sees = "both",
        frozen: bool = False,
    ) -> None:
        super().__init__()
        _check(hidden_size, attention_size, glimpses, hidden, dropout, sees)
        self.sees, self.every_word, self.dropout = sees, every_word, dropout
        self.glimpses = glimpses if attention and sees == "both" else 0
        self.encoder = FeatureMap(net, image_shape, frozen) if sees != "question" else None
        self.embedding = nn.Embedding(vocab_size, hidden_size) if sees != "picture" else None
        self.recurrent = Recurrent(cell, hidden_size, hidden_size, num_layers) if sees != "picture" else None
        self.attention: AdditiveAttention | None = None
        self.where: Tensor  # (2, h, w): the row and the column of each place
        width = hidden_size if sees != "picture" else 0
        if self.encoder is not None and attention and sees == "both":
            rows, columns = (torch.linspace(-EDGE, EDGE, size) for size in self.encoder.size)
            where = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
            self.register_buffer("where", where, persistent=False)
            self.place = nn.Linear(self.encoder.channels + 2, hidden_size)
            self.attention = AdditiveAttention(hidden_size, hidden_size, attention_size)
            self.of_state, self.of_words = nn.LayerNorm(hidden_size), nn.LayerNorm(hidden_size)
            nn.init.normal_(self.attention.W.weight, std=(2 * hidden_size) ** -0.5)
            with torch.no_grad():
                self.attention.v.mul_(SHARPNESS)
                self.attention.U.weight.mul_(SHARPNESS)
            self.wait = nn.Parameter(torch.randn(hidden_size)) if self.glimpses else None
            width += hidden_size
        elif self.encoder is not None:
            width += self.encoder.channels * self.encoder.size[0] * self.encoder.size[1]
        self.hidden = nn.ModuleList(
            fully_connected([before, after], "relu", "relu", bias=True)
            for before, after in zip([width, *hidden], hidden, strict=False)
        )
        self.head = nn.Linear([width, *hidden][-1], num_classes)

    def forward(self, images: Tensor, ids: Tensor, lengths: Tensor, owner: Tensor) -> Tensor:
        """Pictures (B, C, H, W) and questions to logits (M, K).

        Args:
            images: looked at once, however many questions are asked about each.
            ids: (T, M), of which column m counts up to `lengths[m]`, at least 1.
            lengths: (M,).
            owner: (M,) which of the pictures each question is about.
        """
        if self.attention is not None:
            return self._answer(self._look(images, ids, lengths, owner)[0])
        seen = []
        if self.recurrent is not None:
            seen.append(self._read(ids, lengths)[-1][0])
        if self.encoder is not None:
            seen.append(self.encoder(images).flatten(1).index_select(0, owner))
        return self._answer(torch.cat(seen, dim=-1))

    def attentions(self, images: Tensor, ids: Tensor, lengths: Tensor, owner: Tensor) -> Tensor:
        """The weights (steps, M, h, w) with which each question looks at its picture, the last step's last.

        Raises:
            ValueError: this network has no attention.
        """
        if self.attention is None or self.encoder is None:
            raise ValueError("there is no attention: model.net.attention=false, or model.net.sees is not both")
        weights = self._look(images, ids, lengths, owner)[1]
        return torch.stack(weights).unflatten(-1, self.encoder.size)

    def _read(self, ids: Tensor, lengths: Tensor) -> list[State]:
        """The states, each part (M, n), after each question's last word. What is asked twice is read once."""
        assert self.embedding is not None
        assert self.recurrent is not None
        whole = torch.cat([ids, lengths.to(ids.device)[None]])
        whole, same = torch.unique(whole, dim=1, return_inverse=True)
        ids, own = whole[:-1], whole[-1].cpu()
        _, states = self.recurrent(pack_padded_sequence(self.embedding(ids), own, enforce_sorted=False))
        return [tuple(part.index_select(0, same) for part in state) for state in states]

    def _look(self, images: Tensor, ids: Tensor, lengths: Tensor, owner: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What was read and seen in the end, (M, 2n), and the weights (M, h * w) of each look."""
        assert self.attention is not None
        assert self.recurrent is not None
        assert self.embedding is not None
        memory, words = self._remember(images, owner), self._words(ids, lengths)
        weights: list[Tensor] = []
        if self.every_word:
            states = self.recurrent.initial(len(owner), memory.values)
            lengths = lengths.to(ids.device)
            for step, word in enumerate(self.embedding(ids)):
                seen, where = self.attention(self.of_state(states[-1][0]) + words, memory)
                _, following = self.recurrent.step(word + seen, states)
                goes_on = (step < lengths)[:, None]  # a question that has ended keeps its state
                states = [
                    tuple(torch.where(goes_on, new, old) for new, old in zip(after, before, strict=True))
                    for after, before in zip(following, states, strict=True)
                ]
                weights.append(where)
        else:
            states = self._read(ids, lengths)
        for _ in range(self.glimpses):
            assert self.wait is not None
            seen, where = self.attention(self.of_state(states[-1][0]) + words, memory)
            _, states = self.recurrent.step(self.wait + seen, states)
            weights.append(where)
        seen, where = self.attention(self.of_state(states[-1][0]) + words, memory)
        return torch.cat([states[-1][0], seen], dim=-1), [*weights, where]

    def _words(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """The mean of the embeddings of each question's words, normalised, (M, n)."""
        assert self.embedding is not None
        lengths = lengths.to(ids.device)
        inside = torch.arange(len(ids), device=ids.device)[:, None] < lengths  # (T, M)
        total = (self.embedding(ids) * inside[..., None]).sum(0)
        return self.of_words(total / lengths[:, None])

    def _remember(self, images: Tensor, owner: Tensor) -> Memory:
        """What the attention needs of each question's picture."""
        assert self.attention is not None
        assert self.encoder is not None
        features = self.encoder(images)
        where = self.where.to(features.dtype).expand(len(features), -1, -1, -1)
        places = torch.cat([features, where], dim=1).flatten(2).transpose(1, 2)  # (B, h * w, C' + 2)
        annotations = F.relu(self.place(places))
        return self.attention.remember_all(annotations).of(owner)

    def _answer(self, seen: Tensor) -> Tensor:
        for layer in self.hidden:
            seen = layer(F.dropout(seen, self.dropout, self.training))
        return self.head(seen)


def _check(
    hidden_size: int, attention_size: int, glimpses: int, hidden: Sequence[int], dropout: float, sees: str
) -> None:
    for name, size in {"hidden_size": hidden_size, "attention_size": attention_size}.items():
        if size < 1:
            raise ValueError(f"model.net.{name} must be at least 1, got {size}")
    if glimpses < 0:
        raise ValueError(f"model.net.glimpses must be at least 0, got {glimpses}")
    if any(size < 1 for size in hidden):
        raise ValueError(f"model.net.hidden must be widths of at least 1, got {list(hidden)}")
    if not 0 <= dropout < 1:
        raise ValueError(f"model.net.dropout must be at least 0 and below 1, got {dropout}")
    if sees not in ("both", "question", "picture"):
        raise ValueError(f"model.net.sees must be both, question or picture, got {sees}")
