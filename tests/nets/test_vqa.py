"""Questions of unequal length about pictures with unequally many of them, with every cell and every baseline."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn

from project.nets.cells import GRU, LSTM
from project.nets.strided_convnet import StridedConvNet
from project.nets.vqa import VisualQA
from tests.conftest import choices

SHAPE = (3, 16, 16)
LENGTHS, OWNER = torch.tensor([3, 6, 1, 4]), torch.tensor([0, 0, 0, 1])
FORMS: dict[str, dict[str, Any]] = {
    "attention at the end": {"every_word": False},
    "attention at every word": {"every_word": True},
    "no glimpse": {"glimpses": 0, "every_word": False},
    "two layers": {"num_layers": 2, "every_word": True},
    "whole map": {"attention": False},
    "question alone": {"sees": "question"},
    "picture alone": {"sees": "picture"},
}


def build(cell: Any = LSTM, **arguments: Any) -> VisualQA:
    torch.manual_seed(0)
    convnet = StridedConvNet(SHAPE, 1, channels=(4, 5), strides=(2, 2))
    settings = {"hidden_size": 8, "attention_size": 6, "hidden": (7,), **arguments}
    return VisualQA(convnet, SHAPE, 11, 3, cell, **settings)


def batch() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(2, *SHAPE, generator=generator),
        torch.randint(0, 11, (6, 4), generator=generator),
        LENGTHS,
        OWNER,
    )


@pytest.mark.parametrize("name", choices("cell"))
@pytest.mark.parametrize("form", ["attention at the end", "attention at every word"])
@torch.inference_mode()
def test_a_question_alone_has_the_logits_that_it_has_in_a_batch(
    form: str, name: str, composed: Callable[..., DictConfig]
) -> None:
    net = build(instantiate(composed(f"cell={name}").cell), **FORMS[form]).double().eval()
    images, ids, lengths, owner = batch()
    logits = net(images.double(), ids, lengths, owner)
    assert logits.shape == (4, 3)
    for m, length in enumerate(lengths.tolist()):
        picture = images[owner[m]][None].double()
        alone = net(picture, ids[:length, m : m + 1], lengths[m : m + 1], torch.tensor([0]))
        torch.testing.assert_close(alone[0], logits[m], rtol=0, atol=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_gradient_reaches_every_parameter(form: str) -> None:
    net = build(**FORMS[form])
    net(*batch()).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("form", FORMS)
@torch.inference_mode()
def test_a_picture_is_encoded_once_and_what_a_baseline_does_not_see_is_not_computed(form: str) -> None:
    net = build(**FORMS[form]).eval()
    images, ids, lengths, owner = batch()
    rows: list[int] = []
    for part in net.modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(lambda _, given, __: rows.append(len(given[0])))
    before = net(images, ids, lengths, owner)
    assert rows == ([] if form == "question alone" else [2, 2])
    assert torch.equal(net(images + 1, ids, lengths, owner), before) == (form == "question alone")
    assert torch.equal(net(images, (ids + 1) % 11, lengths, owner), before) == (form == "picture alone")


@torch.inference_mode()
def test_what_is_asked_twice_is_read_once() -> None:
    net = build(every_word=False).eval()
    images, ids, _, _ = batch()
    ids = ids[:, [0, 1, 0, 0]]
    lengths, owner = torch.tensor([3, 6, 3, 4]), torch.tensor([0, 0, 1, 1])  # the last one goes on by a word
    read: list[int] = []
    assert net.recurrent is not None
    net.recurrent.register_forward_hook(lambda _, given, __: read.append(int(given[0].batch_sizes[0])))
    logits = net(images, ids, lengths, owner)
    assert read == [3]
    for m in range(4):
        alone = net(images[owner[m]][None], ids[:, m : m + 1], lengths[m : m + 1], torch.tensor([0]))
        torch.testing.assert_close(alone[0], logits[m])


@pytest.mark.parametrize("every_word", [False, True])
@torch.inference_mode()
def test_attention_step_by_step(every_word: bool) -> None:
    """The equations of the class, for one question about one picture."""
    net = build(GRU, every_word=every_word, glimpses=1).eval()
    assert net.encoder is not None
    assert net.attention is not None
    assert net.wait is not None
    images, ids, _, _ = batch()
    words, attention = ids[:3, 0], net.attention
    cell: Any = net.recurrent.cells[0]  # type: ignore[union-attr]
    grid = torch.linspace(-4, 4, 4)
    where = torch.stack([grid[:, None].expand(4, 4), grid.expand(4, 4)])
    places = torch.relu(net.place(torch.cat([net.encoder(images[:1])[0], where]).flatten(1).T))  # (16, 8)
    asked = net.of_words(net.embedding.weight[words].mean(0))  # type: ignore[union-attr]
    h, looks = torch.zeros(8), []

    def look() -> Tensor:
        scores = torch.tanh(attention.W(net.of_state(h) + asked) + attention.U(places)) @ attention.v
        looks.append(scores.softmax(0))
        return looks[-1] @ attention.V(places)

    for word in words:
        x = net.embedding.weight[word]  # type: ignore[union-attr]
        (h,) = (part[0] for part in cell((x + look() if every_word else x)[None], (h[None],)))
    (h,) = (part[0] for part in cell((net.wait + look())[None], (h[None],)))
    seen = look()
    expected = net.head(torch.relu(net.hidden[0][0](torch.cat([h, seen]))))  # type: ignore[index]
    given = (images[:1], ids[:3, :1], torch.tensor([3]), torch.tensor([0]))
    torch.testing.assert_close(net(*given)[0], expected)
    torch.testing.assert_close(net.attentions(*given)[:, 0].flatten(1), torch.stack(looks))


@torch.inference_mode()
def test_without_attention_there_is_none_to_show() -> None:
    for form in ("whole map", "question alone", "picture alone"):
        with pytest.raises(ValueError, match="there is no attention"):
            build(**FORMS[form]).attentions(*batch())


def test_in_half_precision() -> None:
    for form in FORMS.values():
        net = build(**form)
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(*batch())
        logits.float().square().sum().backward()
        assert logits.isfinite().all()


@pytest.mark.parametrize(
    ("argument", "value", "law"),
    [
        ("hidden_size", 0, "model.net.hidden_size must be at least 1, got 0"),
        ("attention_size", 0, "model.net.attention_size must be at least 1, got 0"),
        ("glimpses", -1, "model.net.glimpses must be at least 0, got -1"),
        ("hidden", (4, 0), r"model.net.hidden must be widths of at least 1, got \[4, 0\]"),
        ("dropout", 1.0, "model.net.dropout must be at least 0 and below 1, got 1.0"),
        ("sees", "nothing", "model.net.sees must be both, question or picture, got nothing"),
    ],
)
def test_laws(argument: str, value: Any, law: str) -> None:
    with pytest.raises(ValueError, match=law):
        build(**{argument: value})


def test_a_strided_convnet_has_a_stride_for_each_of_its_channels() -> None:
    net = StridedConvNet((3, 75, 75), 10)
    assert net.features(torch.zeros(1, 3, 75, 75)).shape == (1, 24, 5, 5)
    assert net(torch.zeros(2, 3, 75, 75)).shape == (2, 10)
    with pytest.raises(ValueError, match=r"channels=\[4\] strides=\[2, 2\]"):
        StridedConvNet(SHAPE, 1, channels=(4,), strides=(2, 2))
