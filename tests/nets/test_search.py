"""Searches on a Markov chain that is small enough to look at every sequence."""

from itertools import product

import pytest
import torch
from torch import Tensor

from project.nets.cells import State
from project.nets.search import Found, Step, beam_search, greedy, length_norm

END, BEGIN, A, B = range(4)
# rows: the token before, columns: the next one. A is the likelier start, and whatever follows it is unlikely
TABLE = torch.tensor(
    [[0.25, 0.25, 0.25, 0.25], [0.05, 0.05, 0.5, 0.4], [0.3, 0.05, 0.35, 0.3], [0.8, 0.05, 0.05, 0.1]],
    dtype=torch.float64,
)


def chain(table: Tensor = TABLE) -> Step:
    """The state, one number a row, counts the steps."""

    def step(words: Tensor, states: list[State]) -> tuple[Tensor, list[State]]:
        return table[words].log(), [(states[0][0] + 1,)]

    return step


def start(rows: int) -> list[State]:
    return [(torch.zeros(rows, 1),)]


def score(tokens: tuple[int, ...], table: Tensor, penalty: float) -> float:
    """Of tokens that end with END: the log-probability over Wu et al.'s length penalty."""
    total = sum(float(table[one, other].log()) for one, other in zip((BEGIN, *tokens), tokens, strict=False))
    return total / ((5 + len(tokens)) / 6) ** penalty


def exhaustive(table: Tensor, limit: int, penalty: float, never: tuple[int, ...] = ()) -> Found:
    letters = [token for token in range(len(table)) if token != END and token not in never]
    every = [(*word, END) for length in range(limit) for word in product(letters, repeat=length)]
    best = max(every, key=lambda tokens: score(tokens, table, penalty))
    return Found(list(best[:-1]), score(best, table, penalty))


def test_length_norm_by_hand() -> None:
    assert length_norm(torch.tensor([1, 7, 13]), 1.0).tolist() == [1, 2, 3]
    assert length_norm(torch.tensor([1, 7, 13]), 0.0).tolist() == [1, 1, 1]


def test_greedy_by_hand() -> None:
    (found,) = greedy(chain(), start(1), torch.tensor([3]), BEGIN, END)
    assert found.tokens == [A, A, A]  # 0.5, then 0.35 twice; cut
    assert found.score == pytest.approx(float(torch.tensor(0.5 * 0.35 * 0.35).log()))


def test_a_beam_finds_what_greedy_search_misses() -> None:
    (found,) = beam_search(chain(), start(1), torch.tensor([3]), BEGIN, END, width=2)
    assert found.tokens == [B]  # 0.4 * 0.8
    assert found.score == pytest.approx(float(torch.tensor(0.32).log()))


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(10))
def test_a_wide_beam_is_an_exhaustive_search(penalty: float, seed: int) -> None:
    table = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).softmax(1)
    best = exhaustive(table, 5, penalty)
    (found,) = beam_search(chain(table), start(1), torch.tensor([5]), BEGIN, END, 400, length_penalty=penalty)
    assert found.tokens == best.tokens
    assert found.score == pytest.approx(best.score)


@pytest.mark.parametrize("seed", range(10))
def test_a_beam_of_one_is_greedy(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(9, 9, dtype=torch.float64, generator=generator).mul(2).softmax(1)
    limits = torch.tensor([1, 2, 8, 30])
    both = [
        search(step=chain(table), states=start(4), limits=limits, begin=BEGIN, end=END, never=[5], length_penalty=0.7)
        for search in (greedy, lambda **arguments: beam_search(width=1, **arguments))
    ]
    assert [one.tokens for one in both[0]] == [one.tokens for one in both[1]]
    assert [one.score for one in both[0]] == pytest.approx([one.score for one in both[1]])


@pytest.mark.parametrize("width", [1, 2, 5])
def test_a_batch_changes_nothing(width: int) -> None:
    """Every sequence has a chain of its own, which its state names; those that are done wait for the others."""
    tables = torch.randn(6, 7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).mul(2).softmax(2)

    def step(words: Tensor, states: list[State]) -> tuple[Tensor, list[State]]:
        ((own,),) = states
        return tables[own[:, 0], words].log(), states

    numbers, limits = torch.arange(6)[:, None], torch.tensor([1, 9, 3, 20, 2, 9])
    together = beam_search(step, [(numbers,)], limits, BEGIN, END, width, length_penalty=1.0)
    alone = [
        beam_search(step, [(numbers[i : i + 1],)], limits[i : i + 1], BEGIN, END, width, length_penalty=1.0)[0]
        for i in range(6)
    ]
    assert [one.tokens for one in together] == [one.tokens for one in alone]
    assert [one.score for one in together] == pytest.approx([one.score for one in alone])
    assert together == beam_search(step, [(numbers,)], limits, BEGIN, END, width, length_penalty=1.0)


def test_what_has_ended_is_kept() -> None:
    """The best ends at once; all that goes on for longer is in the beam for a while, and worse."""
    table = torch.tensor([[1, 1e-9, 1e-9, 1e-9], [0.5, 1e-9, 0.3, 0.2], [0.5, 1e-9, 0.4, 0.1], [0.5, 1e-9, 0.1, 0.4]])
    (found,) = beam_search(chain(table), start(1), torch.tensor([6]), BEGIN, END, 3)
    assert found.tokens == []
    assert found.score == pytest.approx(float(torch.tensor(0.5).log()), abs=1e-6)


@pytest.mark.parametrize("width", [1, 2, 4])
def test_tokens_that_are_never_written(width: int) -> None:
    table = torch.tensor(
        [[0.1, 0.7, 0.1, 0.1], [0.1, 0.1, 0.7, 0.1], [0.1, 0.7, 0.1, 0.1], [0.3, 0.3, 0.3, 0.1]]
    ).double()
    (found,) = beam_search(chain(table), start(1), torch.tensor([5]), BEGIN, END, width, never=[BEGIN, A])
    assert not {BEGIN, A} & set(found.tokens)
    if width == 4:
        assert found.tokens == exhaustive(table, 5, 0.0, never=(BEGIN, A)).tokens


@pytest.mark.parametrize("width", [1, 3])
def test_limits_are_kept_where_nothing_ends(width: int) -> None:
    table = torch.tensor([[0, 0, 0.4, 0.6]] * 4).double()
    found = beam_search(chain(table), start(3), torch.tensor([1, 2, 7]), BEGIN, END, width)
    assert [one.tokens for one in found] == [[B], [B] * 2, [B] * 7]


def test_the_states_follow_their_beginnings() -> None:
    """A network that remembers all tokens as digits, and ends when they read 23."""

    def step(words: Tensor, states: list[State]) -> tuple[Tensor, list[State]]:
        ((digits,),) = states
        digits = torch.where(words[:, None] == BEGIN, digits, digits * 10 + words[:, None])
        ends = torch.where(digits == 10 * A + B, 0.9, 0.01)
        return torch.cat([ends, ends * 0, (1 - ends) * 0.6, (1 - ends) * 0.4], 1).log(), [(digits,)]

    found = beam_search(step, start(2), torch.tensor([4, 4]), BEGIN, END, 4, length_penalty=1.0)
    assert [one.tokens for one in found] == [[A, B]] * 2
