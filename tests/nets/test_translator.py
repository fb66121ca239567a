"""Encoder and decoder with every cell, with and without attention."""

from collections.abc import Callable

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from project.nets.cells import GRU, LSTM, MUT1
from project.nets.decoder import Decoding
from project.nets.search import greedy
from project.nets.translator import Translator
from tests.conftest import choices

SOURCE = torch.tensor([[4, 5, 6], [7, 3, 8], [3, 1, 9], [1, 1, 3]])  # (S, B), ends with 3, padded with 1
LENGTHS = torch.tensor([3, 2, 4])
INPUTS = torch.tensor([[2, 2, 2], [5, 6, 7], [4, 1, 8], [9, 1, 1], [6, 1, 1]])  # (T, B)

Build = Callable[..., Translator]


@pytest.fixture
def build(composed: Callable[..., DictConfig]) -> Build:
    """`build("lstm", num_layers=2)`: a small one of `model=translator cell=lstm` in double precision, from seed 0."""

    def build_net(cell: str, **options: object) -> Translator:
        config = composed("model=translator", f"cell={cell}", "data=shapes")
        config.sizes = {"source_vocab_size": 12, "target_vocab_size": 10}
        torch.manual_seed(0)
        return instantiate(config.model.net, **{"hidden_size": 6, **options}).double()

    return build_net


every_cell = pytest.mark.parametrize("cell", choices("cell"))
with_and_without = pytest.mark.parametrize("attention", [True, False])


@pytest.mark.slow
@every_cell
@with_and_without
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "embedding_size": 4, "tie_weights": False}])
def test_gradient_reaches_every_parameter(cell: str, attention: bool, options: dict, build: Build) -> None:
    net = build(cell, attention=attention, **options)
    logits = net(SOURCE, LENGTHS, INPUTS)
    assert logits.shape == (5, 3, 10)
    logits.square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.slow
@every_cell
@with_and_without
@pytest.mark.parametrize("num_layers", [1, 2])
@torch.no_grad()
def test_padding_changes_nothing(cell: str, attention: bool, num_layers: int, build: Build) -> None:
    """The same logits alone, in a batch, and with other words where there are none."""
    net = build(cell, attention=attention, num_layers=num_layers).eval()
    together = net(SOURCE, LENGTHS, INPUTS)
    for b, length in enumerate(LENGTHS.tolist()):
        alone = net(SOURCE[:length, b : b + 1], LENGTHS[b : b + 1], INPUTS[:, b : b + 1])
        torch.testing.assert_close(alone[:, 0], together[:, b], rtol=0, atol=1e-9)
    padding = torch.arange(6)[:, None] >= LENGTHS
    longer = torch.cat([SOURCE, torch.ones(2, 3, dtype=torch.long)]).masked_fill(padding, 11)
    torch.testing.assert_close(net(longer, LENGTHS, INPUTS), together, rtol=0, atol=1e-9)


@every_cell
@with_and_without
@torch.no_grad()
def test_step_by_step_the_logits_are_the_same(cell: str, attention: bool, build: Build) -> None:
    net = build(cell, attention=attention, num_layers=2).eval()
    decoding, expected = net.encode(SOURCE, LENGTHS), net(SOURCE, LENGTHS, INPUTS)
    for t, words in enumerate(INPUTS):
        logits, decoding = net.decode_step(words, decoding)
        torch.testing.assert_close(logits, expected[t], rtol=0, atol=1e-9)


@with_and_without
def test_logits_are_computed_only_where_they_are_asked_for(attention: bool, build: Build) -> None:
    net = build("gru", attention=attention).eval()
    where = INPUTS != 1
    chosen, whole = net(SOURCE, LENGTHS, INPUTS, where), net(SOURCE, LENGTHS, INPUTS)
    torch.testing.assert_close(chosen, whole[where])
    assert chosen.shape == (10, 10)


@torch.no_grad()
def test_a_word_depends_on_the_words_before_it_alone(build: Build) -> None:
    net = build("gru").eval()
    before, changed = net(SOURCE, LENGTHS, INPUTS), INPUTS.clone()
    changed[3] = 0
    after = net(SOURCE, LENGTHS, changed)
    assert torch.equal(after[:3], before[:3])
    assert not torch.isclose(after[3:], before[3:]).all(-1).any()


@torch.no_grad()
def test_alignments_are_distributions_over_the_source(build: Build) -> None:
    weights = build("lstm").eval().alignments(SOURCE, LENGTHS, INPUTS)
    assert weights.shape == (5, 3, 4)
    torch.testing.assert_close(weights.sum(-1), torch.ones(5, 3).double())
    assert not weights[:, 1, 2:].any()
    with pytest.raises(ValueError, match="attention=false aligns no words"):
        build("lstm", attention=False).alignments(SOURCE, LENGTHS, INPUTS)


@torch.no_grad()
def test_a_search_writes_what_teacher_forcing_finds_likeliest(build: Build) -> None:
    net = build("mut1").eval()
    memory = net.encode(SOURCE, LENGTHS).memory

    def step(words: torch.Tensor, states: list) -> tuple[torch.Tensor, list]:
        logits, after = net.decode_step(words, Decoding(states, memory))
        return logits, after.states

    found = greedy(step, net.encode(SOURCE, LENGTHS).states, torch.tensor([6, 6, 6]), begin=2, end=3)
    for b, one in enumerate(found):
        inputs = torch.tensor([2, *one.tokens])[:, None]
        words = net(SOURCE[:, b : b + 1], LENGTHS[b : b + 1], inputs).argmax(-1)[:, 0].tolist()
        assert words[: len(one.tokens)] == one.tokens


def test_tied_weights_are_one_matrix(build: Build) -> None:
    net = build("gru", tie_weights=True)
    assert net.decoder.head.weight is net.decoder.embedding.weight
    assert build("gru", tie_weights=False).decoder.head.weight.shape == (10, 6)


def test_dropout_is_for_training_alone(build: Build) -> None:
    net = build("gru", dropout=0.5)
    assert not torch.equal(net(SOURCE, LENGTHS, INPUTS), net(SOURCE, LENGTHS, INPUTS))
    net.eval()
    assert torch.equal(net(SOURCE, LENGTHS, INPUTS), net(SOURCE, LENGTHS, INPUTS))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout": 1.0}, r"model.net.dropout must be at least 0 and below 1, got 1.0"),
        ({"num_layers": 0}, r"model.net.num_layers must be at least 1, got 0"),
        ({"hidden_size": 0}, r"model.net.hidden_size must be at least 1, got 0"),
        ({"embedding_size": 0}, r"model.net.embedding_size must be at least 1, got 0"),
        ({"attention_size": -1}, r"model.net.attention_size must be at least 1, got -1"),
    ],
)
def test_arguments_out_of_range(options: dict, message: str) -> None:
    for cell in (GRU, LSTM, MUT1):
        with pytest.raises(ValueError, match=message):
            Translator(5, 5, cell, **options)
