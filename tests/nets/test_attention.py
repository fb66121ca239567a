"""Additive attention against numbers that are computed by hand."""

import math
from functools import partial

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from project.nets.attention import AdditiveAttention

packed = partial(pack_padded_sequence, enforce_sorted=False)


def by_hand() -> AdditiveAttention:
    """One state, annotations of width 1, a hidden layer of 2: e = 2 tanh(s + h) - tanh(h + 1)."""
    attention = AdditiveAttention(1, 1, 2).double()
    with torch.no_grad():
        attention.W.weight.copy_(torch.tensor([[1.0], [0.0]]))
        attention.U.weight.copy_(torch.tensor([[1.0], [1.0]]))
        attention.U.bias.copy_(torch.tensor([0.0, 1.0]))
        attention.V.weight.fill_(3.0)
        attention.v.copy_(torch.tensor([2.0, -1.0]))
    return attention


def test_weights_and_context_by_hand() -> None:
    attention, s, h = by_hand(), 0.5, [0.1, -0.7, 0.4]
    annotations = torch.tensor(h, dtype=torch.float64)[:, None, None]  # (3, 1, 1)
    memory = attention.remember(packed(annotations, torch.tensor([3])))
    context, weights = attention(torch.tensor([[s]], dtype=torch.float64), memory)
    shares = [math.exp(2 * math.tanh(s + one) - math.tanh(one + 1)) for one in h]
    expected = [share / sum(shares) for share in shares]
    assert weights[0].tolist() == pytest.approx(expected, abs=1e-12)
    assert context.item() == pytest.approx(3 * sum(a * one for a, one in zip(expected, h, strict=True)), abs=1e-12)


def test_padding_gets_no_weight() -> None:
    torch.manual_seed(0)
    attention = AdditiveAttention(4, 6, 5).double()
    annotations, states = torch.randn(7, 3, 6).double(), torch.randn(3, 4).double()
    lengths = torch.tensor([7, 2, 5])
    context, weights = attention(states, attention.remember(packed(annotations, lengths)))
    torch.testing.assert_close(weights.sum(1), torch.ones(3).double())
    for b, length in enumerate(lengths.tolist()):
        assert not weights[b, length:].any()
        memory = attention.remember(packed(annotations[:length, b : b + 1], lengths[b : b + 1]))
        own, own_weights = attention(states[b : b + 1], memory)
        torch.testing.assert_close(own[0], context[b])
        torch.testing.assert_close(own_weights[0], weights[b, :length])


def test_a_repeated_memory_serves_several_states_of_a_sentence() -> None:
    torch.manual_seed(0)
    attention = AdditiveAttention(4, 6, 5)
    memory = attention.remember(packed(torch.randn(3, 2, 6), torch.tensor([3, 2])))
    states = torch.randn(4, 4)
    context, _ = attention(states, memory.repeated(2))
    for row in range(4):
        alone = type(memory)(*(part[row // 2 : row // 2 + 1] for part in memory))
        torch.testing.assert_close(attention(states[row : row + 1], alone)[0][0], context[row])
