"""Text from a language model: one token after the other, drawn from what the network expects next."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from project.nets.cells import State
from project.nets.language_model import LanguageModel

_BLOCK = 256  # time steps of a prompt that are read at once, and random numbers that are drawn at once


@dataclass(frozen=True)
class Sampler:
    """How the next token is chosen.

    Args:
        temperature: what logits are divided by; below 1 the likely becomes likelier, 0 always takes the likeliest.
        top_k: only the k likeliest tokens can be drawn (Fan et al. 2018, section 5.1); 0: all.
        top_p: only the likeliest tokens that together have this probability (Holtzman et al. 2020, section 3.1), of
            those that `top_k` leaves; 1: all.
        never: ids that are never drawn, such as that of the unknown token.

    Raises:
        ValueError: one of them is out of range.
    """

    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    never: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature must be at least 0 (0: always the likeliest token), got {self.temperature}")
        if self.top_k < 0:
            raise ValueError(f"top_k must be at least 0 (0: all tokens), got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1 (1: all tokens), got {self.top_p}")

    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits (B, V), on the CPU, to the probabilities (B, V), in double precision, by which tokens are drawn."""
        logits = logits.double().index_fill(1, torch.tensor(self.never, dtype=torch.long), -torch.inf)
        best, place = logits.max(1, keepdim=True)
        if self.temperature == 0:
            return torch.zeros_like(logits).scatter_(1, place, 1)
        probabilities = ((logits - best) / self.temperature).softmax(1)
        if not self.top_k and self.top_p == 1:
            return probabilities
        ordered, order = probabilities.sort(dim=1, descending=True, stable=True)
        if self.top_k:
            ordered[:, self.top_k :] = 0
        share = ordered / ordered.sum(1, keepdim=True)
        ordered[share.cumsum(1) - share >= self.top_p] = 0  # those before it have the probability already
        kept = torch.zeros_like(ordered).scatter_(1, order, ordered)
        return kept / kept.sum(1, keepdim=True)

    def draw(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """The tokens (B,) at the quantiles `uniform` (B,), each in [0, 1), of the probabilities of `logits` (B, V)."""
        cumulative = self.probabilities(logits).cumsum(1)
        return (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(1)


@torch.inference_mode()
def continuations(
    net: LanguageModel,
    prompts: Sequence[Sequence[int]],
    length: int,
    sampler: Sampler,
    seed: int,
    start: Sequence[State] | None = None,
) -> Iterator[list[int | None]]:
    """Continue every prompt by `length` tokens, all of them together; the states are carried, nothing is read twice.

    Prompt i draws its own random numbers, of seed + i: the first one is continued as it would be alone, up to rounding.

    Args:
        net: in evaluation mode.
        prompts: ids, at least one each.
        length: tokens to draw for each.
        sampler: how they are drawn.
        seed: what they depend on.
        start: the states before every prompt, each (1, n); None: zeros. A network whose states were carried along in
            training has hardly ever met zeros, and is lost for some twenty tokens behind them.

    Yields:
        The next token of each prompt; None for one that is still being read, or is complete.

    Raises:
        ValueError: a prompt without tokens.
    """
    if not all(prompts):
        raise ValueError("each prompt must have at least one token to begin with, got an empty one")
    device = net.embedding.weight.device
    random = [_uniform(seed + i) for i in range(len(prompts))]
    position = min(map(len, prompts))
    states = net.recurrent.initial(len(prompts), net.embedding.weight)
    if start is not None:
        states = [tuple(part.to(device).expand(len(prompts), -1) for part in state) for state in start]
    common = torch.tensor([prompt[:position] for prompt in prompts]).T  # (T, B)
    for block in common.split(_BLOCK):
        outputs, states = net.recurrent(net.embedding(block.to(device)), states)
        output = outputs[-1]  # (B, n)
    while True:
        drawing = [len(prompt) <= position < len(prompt) + length for prompt in prompts]
        quantiles = [next(numbers) if draws else 0.0 for numbers, draws in zip(random, drawing, strict=True)]
        drawn = sampler.draw(net.head(output).cpu(), torch.tensor(quantiles, dtype=torch.float64)).tolist()
        yield [token if draws else None for token, draws in zip(drawn, drawing, strict=True)]
        position += 1
        if position >= max(map(len, prompts)) + length:
            return
        following = [
            prompt[position - 1] if position <= len(prompt) else token
            for prompt, token in zip(prompts, drawn, strict=True)
        ]
        output, states = net.recurrent.step(net.embedding(torch.tensor(following, device=device)), states)


def _uniform(seed: int) -> Iterator[float]:
    """Random numbers from [0, 1) that are the same on every device, however many are asked for."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.rand(_BLOCK, generator=generator, dtype=torch.float64).tolist()


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """`net` in evaluation mode for a while; each of its modules is left in the mode that it had."""
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
