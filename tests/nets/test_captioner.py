"""The captioner with every cell, with and without attention."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from project.nets.captioner import Captioner
from project.nets.decoder import Decoding
from tests.conftest import choices, compose_config

IMAGES = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(1)).double()
INPUTS = torch.tensor([[2, 2, 2], [5, 6, 7], [4, 1, 8], [9, 1, 1]])  # (T, M)
OWNER = torch.tensor([0, 0, 1])

Build = Callable[..., Captioner]


@cache
def _composed(*words: str) -> DictConfig:
    return compose_config("model=captioner", "data=shapes", *words)


@pytest.fixture
def build() -> Build:
    """`build("lstm", num_layers=2)`: a small one of `model=captioner cell=lstm` in double precision, from seed 0."""

    def build_net(cell: str, *words: str, **options: object) -> Captioner:
        config = _composed(f"cell={cell}", "net.channels=[4,6,6,8]", *words).copy()
        config.sizes = {"image_shape": [3, 24, 24], "vocab_size": 10}
        torch.manual_seed(0)
        return instantiate(config.model.net, **{"hidden_size": 6, "attention_size": 5, **options}).double()

    return build_net


every_cell = pytest.mark.parametrize("cell", choices("cell"))
with_and_without = pytest.mark.parametrize("attention", [True, False])


@pytest.mark.slow
@every_cell
@with_and_without
@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2, "embedding_size": 4, "tie_weights": False, "word_asks": False}]
)
def test_gradient_reaches_every_parameter(cell: str, attention: bool, options: dict, build: Build) -> None:
    net = build(cell, attention=attention, **options)
    logits, weights = net(IMAGES, INPUTS, OWNER)
    assert logits.shape == (4, 3, 10)
    assert (weights is not None) == attention
    logits.square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@every_cell
@with_and_without
@torch.no_grad()
def test_a_caption_depends_on_its_own_image_and_words_alone(cell: str, attention: bool, build: Build) -> None:
    net = build(cell, attention=attention).eval()
    together, _ = net(IMAGES, INPUTS, OWNER)
    for m, owner in enumerate(OWNER.tolist()):
        alone, _ = net(IMAGES[owner : owner + 1], INPUTS[:, m : m + 1], torch.tensor([0]))
        torch.testing.assert_close(alone[:, 0], together[:, m], rtol=0, atol=1e-9)
    other, _ = net(IMAGES.flip(0), INPUTS, OWNER)
    assert not torch.isclose(other[0], together[0]).all(-1).any()
    changed = INPUTS.clone()
    changed[2] = 0
    after, _ = net(IMAGES, changed, OWNER)
    assert torch.equal(after[:2], together[:2])


@every_cell
@with_and_without
@torch.no_grad()
def test_step_by_step_the_logits_are_the_same(cell: str, attention: bool, build: Build) -> None:
    net = build(cell, attention=attention, num_layers=2).eval()
    decoding, (expected, _) = net.encode(IMAGES, OWNER), net(IMAGES, INPUTS, OWNER)
    for t, words in enumerate(INPUTS):
        logits, decoding = net.decode_step(words, decoding)
        torch.testing.assert_close(logits, expected[t], rtol=0, atol=1e-9)
    where = INPUTS != 1
    torch.testing.assert_close(net(IMAGES, INPUTS, OWNER, where)[0], expected[where])


@torch.no_grad()
def test_the_encoder_sees_each_image_once(build: Build) -> None:
    net, seen = build("gru").eval(), []
    net.encoder.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    net(IMAGES, INPUTS, OWNER)
    assert seen == [2]


@torch.no_grad()
def test_attention_is_a_distribution_over_the_map(build: Build) -> None:
    net = build("lstm").eval()
    _, weights = net(IMAGES, INPUTS, OWNER)
    assert weights.shape == (4, 3, 9)  # 24 pixels at strides 2, 2, 2, 1
    torch.testing.assert_close(weights.sum(-1), torch.ones(4, 3).double())


@torch.no_grad()
def test_two_places_that_look_alike_are_told_apart_by_where_they_are(build: Build) -> None:
    """The equations: c = beta sum_i a_i V [h_i; y_i; x_i], e_i = v tanh(U [h_i; y_i; x_i] + W s)."""
    net = build("rnn").eval()
    maps: dict[str, Tensor] = {}
    net.encoder.register_forward_hook(lambda _, __, output: maps.update(map=output))
    decoding = net.encode(IMAGES)
    attention, memory, features = net.decoder.attention, decoding.memory, maps["map"]
    assert attention is not None
    assert memory is not None
    line = torch.linspace(-1, 1, 3).double()
    for row in range(3):
        for column in range(3):
            place = torch.cat([features[0, :, row, column], line[row : row + 1], line[column : column + 1]])
            torch.testing.assert_close(memory.keys[0, 3 * row + column], attention.U(place))
            torch.testing.assert_close(memory.values[0, 3 * row + column], attention.V(place))
    state = decoding.states[0][0]
    torch.testing.assert_close(state, torch.tanh(net.decoder.bridges[0](features.flatten(2).mean(2))))
    x, (context,), (weights,) = net.decoder._attend(torch.zeros(2, 6).double(), decoding)
    assert net.decoder.gate is not None
    gate = torch.sigmoid(net.decoder.gate(state))
    torch.testing.assert_close(context, gate * torch.einsum("bi,bin->bn", weights, memory.values))
    assert torch.equal(x, context)


@torch.no_grad()
def test_beams_read_their_own_image(build: Build) -> None:
    net = build("gru").eval()
    decoding = net.encode(IMAGES)
    assert decoding.memory is not None
    twice = Decoding([tuple(part.repeat_interleave(2, 0) for part in state) for state in decoding.states], None)
    logits, _ = net.decode_step(torch.full((4,), 2), Decoding(twice.states, decoding.memory.repeated(2)))
    expected, _ = net.decode_step(torch.full((2,), 2), decoding)
    torch.testing.assert_close(logits, expected.repeat_interleave(2, 0))


@pytest.mark.parametrize(("name", "attention"), [("convnet", True), ("resnet", True), ("vgg", False)])
@torch.no_grad()
def test_any_convnet_encodes(name: str, attention: bool, composed: Callable[..., DictConfig]) -> None:
    config = composed("model=captioner", f"net={name}", "data=shapes")
    config.sizes = {"image_shape": [3, 64, 64], "vocab_size": 10}
    net = instantiate(config.model.net, attention=attention).eval()
    assert net(torch.zeros(2, 3, 64, 64), INPUTS, OWNER)[0].shape == (4, 3, 10)


def test_a_map_of_one_place_is_refused(composed: Callable[..., DictConfig]) -> None:
    config = composed("model=captioner", "net=vgg", "data=shapes")
    config.sizes = {"image_shape": [3, 32, 32], "vocab_size": 10}
    with pytest.raises(Exception, match=r"map of features is 1x1: choose larger images \(data\.image_size\)"):
        instantiate(config.model.net)
    assert instantiate(config.model.net, attention=False).decoder.attention is None


@torch.no_grad()
def test_the_attention_knows_the_word_before(build: Build) -> None:
    """And in the paper's form it does not: a word changes where is looked from the step after on."""
    changed = INPUTS.clone()
    changed[1] = 3
    for asks in (True, False):
        net = build("gru", word_asks=asks).eval()
        (_, before), (_, after) = net(IMAGES, INPUTS, OWNER), net(IMAGES, changed, OWNER)
        assert before is not None
        assert after is not None
        same = [torch.equal(one, other) for one, other in zip(before, after, strict=True)]
        assert same == [True, not asks, False, False]
