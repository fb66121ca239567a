"""Tokens are drawn by the law that was asked for, and texts depend on their own prompt and seed alone."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from project.nets.cells import GRU, LSTM
from project.nets.language_model import LanguageModel
from project.nets.sampling import Sampler, continuations, evaluating

LOGITS = torch.tensor([[9.0, math.log(4), math.log(1), math.log(3), math.log(2)]])  # of token 0, unknown, and 4 others


def law(**options: float) -> list[float]:
    return Sampler(**options).probabilities(LOGITS)[0].tolist()  # type: ignore[arg-type]


def test_probabilities_by_hand() -> None:
    assert law(temperature=1) == pytest.approx([0, 0.4, 0.1, 0.3, 0.2])
    assert law(temperature=0.5) == pytest.approx([0, 16 / 30, 1 / 30, 9 / 30, 4 / 30])
    assert law(temperature=0) == [0, 1, 0, 0, 0]
    assert law(temperature=1e-300) == [0, 1, 0, 0, 0]
    assert law(temperature=1, top_k=2) == pytest.approx([0, 4 / 7, 0, 3 / 7, 0])
    assert law(temperature=1, top_k=100) == pytest.approx([0, 0.4, 0.1, 0.3, 0.2])
    assert law(temperature=1, top_p=0.6) == pytest.approx([0, 4 / 7, 0, 3 / 7, 0])  # 0.4 are not enough
    assert law(temperature=1, top_p=0.39) == [0, 1, 0, 0, 0]
    assert law(temperature=1, top_p=0.71) == pytest.approx([0, 4 / 9, 0, 3 / 9, 2 / 9])
    assert law(temperature=1, top_k=2, top_p=0.58) == pytest.approx([0, 4 / 7, 0, 3 / 7, 0])  # of 4/7 and 3/7
    assert law(temperature=1, top_k=2, top_p=0.57) == [0, 1, 0, 0, 0]


def test_equal_logits_leave_no_more_than_k() -> None:
    assert Sampler(1, top_k=2).probabilities(torch.zeros(1, 5))[0].tolist() == [0, 0.5, 0.5, 0, 0]


def test_a_token_stands_at_its_quantiles() -> None:
    sampler = Sampler(1)
    edges = [(0.0, 1), (0.3999, 1), (0.4001, 2), (0.4999, 2), (0.5001, 3), (0.7999, 3), (0.8001, 4), (1 - 2**-53, 4)]
    quantiles = torch.tensor([quantile for quantile, _ in edges], dtype=torch.float64)
    assert sampler.draw(LOGITS.expand(len(edges), -1), quantiles).tolist() == [token for _, token in edges]


def test_the_logits_are_left_as_they_were() -> None:
    logits = LOGITS.double()
    Sampler(1, top_k=2).probabilities(logits)
    assert logits[0, 0] == 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.1}, r"temperature must be at least 0 .*got -0.1"),
        ({"temperature": math.nan}, r"temperature must be at least 0 .*got nan"),
        ({"top_k": -1}, r"top_k must be at least 0 .*got -1"),
        ({"top_p": 0.0}, r"top_p must be above 0 and at most 1 .*got 0.0"),
        ({"top_p": 1.1}, r"top_p must be above 0 and at most 1 .*got 1.1"),
    ],
)
def test_options_out_of_range(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampler(**options)  # type: ignore[arg-type]


def network(cell: type = LSTM) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(7, cell, hidden_size=8, num_layers=2).eval()


def texts(
    net: LanguageModel, prompts: Sequence[Sequence[int]], length: int = 40, seed: int = 3, **options: float
) -> list:
    """Each prompt's continuation, and its place among the steps."""
    found: list[list[int]] = [[] for _ in prompts]
    for step in continuations(net, prompts, length, Sampler(**options), seed):  # type: ignore[arg-type]
        for text, token in zip(found, step, strict=True):
            if token is not None:
                text.append(token)
    return found


@torch.no_grad()
def reread(net: LanguageModel, prompt: Sequence[int], length: int) -> list[int]:
    """Greedy, with everything read again from the start for every token."""
    ids = list(prompt)
    for _ in range(length):
        logits: Tensor = net(torch.tensor(ids)[:, None])[0][-1, 0]
        logits[0] = -math.inf
        ids.append(int(logits.argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("cell", [LSTM, GRU])
def test_carried_states_are_those_of_the_whole_text(cell: type) -> None:
    net = network(cell)
    prompts = [[1, 2, 3], [4], [5, 6, 1, 2, 3, 3, 3]]
    assert texts(net, prompts, 12, temperature=0) == [reread(net, prompt, 12) for prompt in prompts]
    long = [1, 2, 3, 4, 5, 6] * 90  # read in several blocks
    assert texts(net, [long], 3, temperature=0) == [reread(net, long, 3)]


def test_a_prompt_draws_its_own_numbers() -> None:
    net = network()
    prompts = [[1, 2, 3], [4], [5, 6, 1, 2, 3, 3, 3]]
    together = texts(net, prompts)
    assert [len(text) for text in together] == [40, 40, 40]
    for i, prompt in enumerate(prompts):
        assert texts(net, [prompt], seed=3 + i) == [together[i]]
    assert texts(net, prompts[:1], seed=4) != together[:1]
    assert texts(net, prompts[:1], length=400)[0][:40] == together[0]
    assert all(0 not in text for text in together)


def test_draws_have_the_frequencies_of_the_law() -> None:
    net = network()
    with torch.no_grad():
        net.head.weight.zero_()
        net.head.bias.copy_(torch.tensor([9.0, *torch.arange(1.0, 7).log().tolist()]))  # 1/21, ..., 6/21
    (drawn,) = texts(net, [[1]], length=2100, temperature=1)
    counts = torch.tensor(drawn).bincount(minlength=7)
    assert counts[0] == 0
    expected = torch.arange(1, 7) * 100
    assert ((counts[1:] - expected) ** 2 / expected).sum() < 20.5  # chi-squared, 5 degrees of freedom: 1 in 1000


def test_nothing_outside_changes() -> None:
    net = network().train()
    net.head.eval()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    weights = {name: value.clone() for name, value in net.state_dict().items()}
    with evaluating(net):
        assert not any(module.training for module in net.modules())
        texts(net, [[1], [2]])
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())
    assert net.training
    assert net.recurrent.training
    assert not net.head.training


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="each prompt must have at least one token"):
        texts(network(), [[1], []])
