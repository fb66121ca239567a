"""Sentences of different lengths in one batch, for every cell, pooling and direction."""

from collections.abc import Callable

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn

from project.nets.cells import GRU, LSTM, MUT1, RNN
from project.nets.text_classifier import Pooling, TextClassifier
from tests.conftest import choices

LENGTHS = torch.tensor([3, 7, 1, 5])
POOLINGS: tuple[Pooling, ...] = ("last", "max", "mean")


def sentences(generator_seed: int = 0) -> Tensor:
    """(T, B) ids, with anything at all behind the ends."""
    return torch.randint(0, 11, (7, 4), generator=torch.Generator().manual_seed(generator_seed))


@pytest.mark.slow
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("name", choices("cell"))
@torch.inference_mode()
def test_a_sentence_alone_has_the_logits_that_it_has_in_a_batch(
    name: str, pooling: Pooling, bidirectional: bool, composed: Callable[..., DictConfig]
) -> None:
    torch.manual_seed(0)
    cell = instantiate(composed(f"cell={name}").cell)
    net = TextClassifier(11, 3, cell, hidden_size=6, bidirectional=bidirectional, pooling=pooling).double().eval()
    ids = sentences()
    logits = net(ids, LENGTHS)
    assert logits.shape == (4, 3)
    for b, length in enumerate(LENGTHS.tolist()):
        alone = net(ids[:length, b : b + 1], LENGTHS[b : b + 1])
        torch.testing.assert_close(alone[0], logits[b], rtol=0, atol=1e-6)
    other_padding = torch.where(torch.arange(7)[:, None] < LENGTHS, ids, sentences(1))
    torch.testing.assert_close(net(other_padding, LENGTHS), logits, rtol=0, atol=1e-6)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(net(ids[:, order], LENGTHS[order]), logits[order], rtol=0, atol=1e-6)


@pytest.mark.parametrize("pooling", POOLINGS)
@torch.inference_mode()
def test_pooling_of_both_directions_step_by_step(pooling: Pooling) -> None:
    net = TextClassifier(11, 2, RNN, hidden_size=3, bidirectional=True, pooling=pooling).double().eval()
    ids = sentences()
    forwards, backwards = net.recurrent.cells
    for b, length in enumerate(LENGTHS.tolist()):
        embedded = net.embedding(ids[:length, b])
        there, back = states(forwards, embedded), states(backwards, embedded.flip(0)).flip(0)  # (T, n)
        expected = {
            "last": torch.cat([there[-1], back[0]]),
            "max": torch.cat([there, back], dim=1).amax(0),
            "mean": torch.cat([there, back], dim=1).mean(0),
        }[pooling]
        torch.testing.assert_close(net.encode(ids, LENGTHS)[b], expected)


def states(cell: nn.Module, embedded: Tensor) -> Tensor:
    h, found = torch.zeros(1, 3, dtype=torch.float64), []
    for x in embedded:
        (h,) = cell(x[None], (h,))
        found.append(h[0])
    return torch.stack(found)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_gradient_reaches_every_parameter_and_no_padding(pooling: Pooling) -> None:
    net = TextClassifier(11, 2, LSTM, hidden_size=4, num_layers=2, dropout=0.0, pooling=pooling)
    ids = torch.where(torch.arange(7)[:, None] < LENGTHS, sentences().clamp_min(1), 0)
    net(ids, LENGTHS).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
    gradient = net.embedding.weight.grad
    assert gradient is not None
    assert not gradient[0].any()  # what padding is filled with


def test_dropout_is_for_training_alone() -> None:
    net = TextClassifier(11, 2, GRU, hidden_size=4, dropout=0.5)
    assert not torch.equal(net(sentences(), LENGTHS), net(sentences(), LENGTHS))
    net.eval()
    assert torch.equal(net(sentences(), LENGTHS), net(sentences(), LENGTHS))


def test_widths() -> None:
    net = TextClassifier(11, 5, LSTM, hidden_size=4, bidirectional=True, embedding_size=6)
    assert net.embedding.weight.shape == (11, 6)
    assert net.head.weight.shape == (5, 8)
    assert TextClassifier(11, 5, LSTM, hidden_size=4, bidirectional=False).head.weight.shape == (5, 4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"pooling": "first"}, "model.net.pooling must be last, max or mean, got first"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"embedding_size": 0}, r"model.net.embedding_size must be at least 1 \(null: hidden_size\), got 0"),
        ({"hidden_size": 0}, "hidden_size must be at least 1, got 1 and 0"),
        ({"cell": MUT1, "embedding_size": 5}, "of one width, got input 5"),
    ],
)
def test_arguments_out_of_range(words: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TextClassifier(**{"vocab_size": 11, "num_classes": 2, "cell": LSTM, "hidden_size": 4, **words})


def test_a_sentence_without_a_token() -> None:
    net = TextClassifier(11, 2, LSTM, hidden_size=4)
    with pytest.raises(ValueError, match=r"every sentence must have at least one token, got lengths \[3, 0\]"):
        net(sentences()[:, :2], torch.tensor([3, 0]))
