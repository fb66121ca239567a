"""What is around the recording of a network; the recording itself takes a GPU (`tests/test_gpu.py`).

A stand-in for torch's recorder keeps to its contract: outputs and gradients stand in the same memory every time.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from project.nets.recorded import Recorded
from project.runs.checks import GRAPHS
from project.runs.compilation import compile_net


def stand_in(net: nn.Module, example: tuple[Tensor, ...], allow_unused_input: bool) -> None:
    written, learned, was_training = net.forward, [*net.parameters()], net.training
    assert not net._forward_pre_hooks
    assert not net._forward_hooks  # torch's refuses them
    written(*example)  # a warm-up changes running statistics and draws random numbers
    output = written(*example).detach()
    gradients = [torch.empty_like(parameter) for parameter in learned]

    class Played(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Tensor) -> Tensor:
            for own, given in zip(example, inputs, strict=False):
                own.copy_(given)
            with torch.enable_grad():
                ctx.computed = written(*example)
            output.copy_(ctx.computed.detach())
            return output.detach()

        @staticmethod
        @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
        def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
            found = torch.autograd.grad(ctx.computed, learned, gradient)
            for own, value in zip(gradients, found, strict=True):
                own.copy_(value)
            return (*[None] * len(example), *(own.detach() for own in gradients))

    def forward(*inputs: Tensor) -> Any:
        return Played.apply(*inputs, *learned) if net.training == was_training else written(*inputs)

    net.forward = forward  # type: ignore[method-assign]


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> tuple[nn.Module, nn.Module]:
    """A network as written, and the same one recorded."""
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", stand_in)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: torch.get_rng_state())
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: torch.set_rng_state(state))
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Tanh(), nn.Linear(4, 2))
    twin = copy.deepcopy(net)
    compile_net(twin, GRAPHS)
    return net, twin


def step(net: nn.Module, x: Tensor, seed: int) -> Tensor:
    torch.manual_seed(seed)
    loss = net(x).square().mean()
    loss.backward()
    return loss.detach()


def same(net: nn.Module, twin: nn.Module) -> None:
    for (name, one), other in zip(net.state_dict().items(), twin.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    for one, other in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


BATCHES = torch.arange(60.0).view(4, 5, 3).sin()


def test_gradients_are_added_up_over_batches(pair: tuple[nn.Module, nn.Module]) -> None:
    for x in BATCHES[:3]:
        losses = [step(net, x, 1) for net in pair]
        assert losses[0] == losses[1]
        same(*pair)
    for net in pair:
        net.zero_grad()
        step(net, BATCHES[3], 2)
    same(*pair)


def test_recording_changes_nothing(pair: tuple[nn.Module, nn.Module]) -> None:
    x = BATCHES[0].clone()
    for net in pair:
        step(net, x, 5)
    same(*pair)
    for net in pair:
        step(net, BATCHES[1], 5)
    assert torch.equal(x, BATCHES[0])  # what was given is not what is written to


@pytest.mark.parametrize(
    "other",
    [
        lambda net: net.eval()(BATCHES[0]),
        lambda net: net(BATCHES[0][:3]),
        lambda net: net(input=BATCHES[0]),
        lambda net: torch.no_grad()(net)(BATCHES[0]),
    ],
    ids=["validation", "another shape", "by name", "without gradients"],
)
def test_other_calls_run_it_as_written(pair: tuple[nn.Module, nn.Module], other: Callable[[nn.Module], Tensor]) -> None:
    for net in pair:
        step(net, BATCHES[1], 3)
    outputs = []
    for net in pair:
        torch.manual_seed(4)
        outputs.append(other(net))
        net.train()
    assert torch.equal(*outputs)
    for net in pair:
        step(net, BATCHES[2], 5)
    same(*pair)


def test_two_calls_before_a_backward_are_two_outputs(pair: tuple[nn.Module, nn.Module]) -> None:
    for net in pair:
        torch.manual_seed(6)
        (net(BATCHES[0]).sum() * net(BATCHES[1]).sum()).backward()
    same(*pair)
    assert isinstance(pair[1].forward, Recorded)
    assert not pair[1].forward.waiting


def test_hooks_of_the_network_are_called_every_time(pair: tuple[nn.Module, nn.Module]) -> None:
    heard: list[int] = []
    pair[1].register_forward_pre_hook(lambda net, inputs: heard.append(len(inputs[0])))
    for x in BATCHES:
        step(pair[1], x, 7)
    assert heard == [5, 5, 5, 5]
