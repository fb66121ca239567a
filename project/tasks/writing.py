"""What tasks that write sentences have in common: the search, and words that count the same on every rank."""

from collections.abc import Callable, Sequence

from torch import Tensor

from project.data.subwords import BEGIN, END
from project.nets.cells import State
from project.nets.decoder import Decoding
from project.nets.search import Found, beam_search, greedy

# previous words (N,) and where their sentences stand, to the logits (N, V) of the next words, and onwards
DecodeStep = Callable[[Tensor, Decoding], tuple[Tensor, Decoding]]


def written(
    decode_step: DecodeStep,
    decoding: Decoding,
    limits: Tensor,
    width: int,
    never: Sequence[int],
    length_penalty: float,
) -> list[Found]:
    """The best sentence that is found from each of B beginnings; see `project.nets.search`.

    Args:
        decode_step: of the network.
        decoding: where the sentences begin.
        limits: (B,) tokens of each, at most.
        width: beginnings that are kept; 1: greedy.
        never: tokens that are not written.
        length_penalty: see `project.nets.search.length_norm`.
    """
    memory = decoding.memory
    if memory is not None and width > 1:
        memory = memory.repeated(width)

    def step(words: Tensor, states: list[State]) -> tuple[Tensor, list[State]]:
        logits, after = decode_step(words, Decoding(states, memory))
        return logits, after.states

    if width == 1:
        return greedy(step, decoding.states, limits, BEGIN, END, never, length_penalty)
    return beam_search(step, decoding.states, limits, BEGIN, END, width, never, length_penalty)
