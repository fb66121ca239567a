"""Gradient ascent reaches what is known to excite a unit."""

import pytest
import torch
from torch import Tensor, nn

from project.nets.dreaming import Dreamer, blurred, units, whole_layer

LOW, HIGH = torch.tensor([-1.0, -2.0, -3.0]), torch.tensor([1.0, 2.0, 3.0])


def test_a_linear_unit_is_excited_most_by_its_weights_signs() -> None:
    signs = torch.randn(3, 4, 4).sign()
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 2, bias=False)).requires_grad_(True)
    with torch.no_grad():
        net[1].weight.copy_(torch.stack([signs.flatten(), -signs.flatten()]))  # type: ignore[operator]
    with torch.inference_mode():  # as Lightning validates
        dream = Dreamer(steps=40, rate=0.5, jitter=0, blur=0.0)(units(net, [0, 1]), (2, 3, 4, 4), LOW, HIGH)
    best = signs * HIGH[:, None, None]
    assert torch.equal(dream, torch.stack([best, -best]))
    assert net[1].weight.grad is None


def test_dreams_are_the_same_each_time_and_draw_nothing_of_torch_s_random_numbers() -> None:
    net = nn.Conv2d(3, 2, 3)
    before = torch.get_rng_state()
    first, second = (Dreamer(steps=5)(units(net, [1]), (1, 3, 8, 8), LOW, HIGH) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
    other = Dreamer(steps=5, seed=1)(units(net, [1]), (1, 3, 8, 8), LOW, HIGH)
    assert not torch.equal(first, other)


def test_units_are_logits_or_means_of_channels() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(16, 5))
    images = torch.randn(2, 3, 2, 2)
    assert torch.equal(units(net, [4, 0])(images), torch.stack([net(images)[0, 4], net(images)[1, 0]]))
    maps = net[0](images)
    assert torch.equal(units(net, [3, 3], layer="0")(images), maps[:, 3].flatten(1).mean(1))


def test_blurring_hands_shares_to_neighbours_and_keeps_the_sum() -> None:
    image = torch.zeros(1, 1, 3, 3)
    image[0, 0, 0, 0] = 1.0
    found = blurred(image, 0.25)[0, 0]
    assert torch.equal(found, torch.tensor([[0.5625, 0.1875, 0], [0.1875, 0.0625, 0], [0, 0, 0]]))


@pytest.mark.parametrize(("name", "value"), [("steps", 0), ("rate", 0.0), ("jitter", -1), ("blur", 0.5)])
def test_what_is_out_of_range_is_told(name: str, value: float) -> None:
    def excitement(images: Tensor) -> Tensor:
        return images.flatten(1).sum(1)

    with pytest.raises(ValueError, match=f"{name} must be .*, got {value}"):
        Dreamer(**{name: value})(excitement, (1, 3, 2, 2), LOW, HIGH)  # type: ignore[arg-type]


def test_octaves_grow_to_the_image_s_size_and_a_start_keeps_its_details() -> None:
    dreamer = Dreamer(steps=2, blur=0.0, jitter=0, rate=1e-6, octaves=3, octave_scale=2.0)
    assert dreamer.sizes((16, 10)) == [(4, 2), (8, 5), (16, 10)]
    start = torch.rand(1, 3, 16, 10) - 0.5
    seen = list(dreamer.ascend(lambda images: images.sum((1, 2, 3)), start.shape, LOW, HIGH, start))
    assert [tuple(images.shape[2:]) for images, _ in seen] == [(4, 2)] * 2 + [(8, 5)] * 2 + [(16, 10)] * 2
    assert torch.allclose(seen[-1][0], start, atol=1e-4)
    assert seen[-1][0].sum() > start.sum()


def test_a_whole_layer_is_excited_by_the_square_of_what_it_puts_out() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True))
    images = torch.randn(2, 3, 5, 6)
    assert torch.equal(whole_layer(net, "0")(images), net[0](images).square().flatten(1).mean(1))
