"""Weights and counts for the tests that compare a network with torchvision's."""

import math

import torch
from torch import Tensor, nn


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def random_state(net: nn.Module) -> dict[str, Tensor]:
    """A value for every weight and every running statistic of `net`, none of them at its start, all from one seed.

    Large matrices repeat one random row block, shifted: as telling as fresh numbers, and much faster to draw.
    """
    generator = torch.Generator().manual_seed(0)
    pool = torch.randn(1_000_003, generator=generator)  # a prime, so that no two rows are alike
    state = {}
    for name, value in net.state_dict().items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.zeros((), dtype=torch.long)
            continue
        drawn = pool.repeat(math.ceil(value.numel() / len(pool)))[: value.numel()].view(value.shape)
        if value.ndim > 1:
            state[name] = drawn * math.sqrt(2 / value[0].numel())
        elif name.endswith(("running_var", "weight")):
            state[name] = 0.5 + torch.rand(value.shape, generator=generator)
        else:
            state[name] = 0.1 * torch.randn(value.shape, generator=generator)
        pool = pool.roll(1)
    return state


@torch.inference_mode()
def assert_equal_outputs(net: nn.Module, reference: nn.Module, size: int) -> None:
    """Both get one state, drawn for `reference`, and agree to the last bit on two images."""
    state = random_state(reference)
    reference.load_state_dict(state, assign=True)
    net.load_state_dict(state, assign=True)
    batch = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    logits = net.eval()(batch)
    assert logits.isfinite().all()
    assert logits.std() > 1e-3
    assert torch.equal(logits, reference.eval()(batch))
