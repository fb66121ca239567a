"""What the callbacks of image tasks pick, count and show."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from project.callbacks.activations import a_few, map_pixels
from project.callbacks.codes import encoded, last_linear, sheet, table
from project.callbacks.confusion import confusion_picture
from project.callbacks.filters import filter_pixels, first_filters
from project.callbacks.mistakes import RIGHT, mistaken, most_confident
from project.callbacks.saliency import heat
from project.nets.alexnet import AlexNet
from project.nets.autoencoder import Autoencoder
from project.nets.mlp import MLP


def test_filters_are_those_of_the_layer_that_takes_the_image() -> None:
    net = AlexNet((3, 227, 227), 10)
    found = first_filters(net, (3, 227, 227))
    assert found is not None
    assert found.shape == (96, 3, 11, 11)
    assert torch.equal(found, net.features[0].weight)  # type: ignore[arg-type]
    mlp = MLP((3, 4, 5), 2, hidden=(7,))
    rows = first_filters(mlp, (3, 4, 5))
    assert rows is not None
    assert torch.equal(rows.flatten(1), mlp.layers[0].weight)  # type: ignore[arg-type]
    assert rows.shape == (7, 3, 4, 5)
    assert first_filters(nn.Linear(5, 5), (3, 2, 2)) is None


def test_a_filter_s_zero_is_grey_and_its_strongest_weight_an_end() -> None:
    weights = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.0, -0.5], [0.0, 0.0, 0.0]]).view(3, 3, 1, 1)
    own = filter_pixels(weights, common_scale=False)
    assert own[:, 0, 0].tolist() == [[255, 128, 64], [255, 128, 0], [128, 128, 128]]
    assert filter_pixels(weights, common_scale=True)[1, 0, 0].tolist() == [159, 128, 96]


def test_the_most_confident_mistakes_of_several_batches() -> None:
    logits = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]]).log()
    labels = torch.tensor([1, 1, 1, 0])  # the second is right
    images = torch.arange(4.0).view(4, 1, 1, 1)
    first, second = (mistaken(logits[part], labels[part], images[part]) for part in (slice(0, 2), slice(2, 4)))
    both = [torch.cat(parts) for parts in zip(first, second, strict=True)]
    confidences, predicted, true, kept = most_confident(both, 3)
    assert confidences.tolist() == pytest.approx([0.9, 0.7, 0.6])
    assert (predicted.tolist(), true.tolist(), kept.flatten().tolist()) == ([0, 1, 0], [1, 0, 1], [0, 3, 2])
    assert most_confident(both, 9)[0][-1] == RIGHT


def test_a_confusion_matrix_is_coloured_by_the_share_of_its_row() -> None:
    picture = np.asarray(confusion_picture(np.array([[30, 10], [0, 0]]), ["a", "b\x1b"]))
    left, top = picture.shape[1] - 2 * 36 - 4, picture.shape[0] - 2 * 36 - 4
    corners = [picture[top + row * 36 + 2, left + column * 36 + 2].tolist() for row in (0, 1) for column in (0, 1)]
    blue = [round(255 - share * (255 - part)) for share in (0.75, 0.25) for part in (8, 48, 107)]
    assert corners == [blue[:3], blue[3:], [255, 255, 255], [255, 255, 255]]


@pytest.mark.parametrize("classes", [2, 21, 100, 1000])
def test_any_number_of_classes_has_room(classes: int) -> None:
    width, height = confusion_picture(
        np.eye(classes, dtype=np.int64), ["a name that is very long indeed"] * classes
    ).size
    assert max(width, height) < 1200


def test_a_map_reaches_from_black_to_white() -> None:
    maps = torch.tensor([[-1.0, 0.0], [1.0, -1.0]]).view(1, 1, 2, 2).repeat(1, 2, 1, 1)
    maps[:, 1] = 3.0
    found = map_pixels(maps)
    assert found.shape == (1, 2, 2, 2, 3)
    assert found[0, 0, :, :, 0].tolist() == [[0, 128], [255, 0]]
    assert not found[0, 1].any()  # an even map


def test_heat_is_black_up_to_nothing_and_white_at_most() -> None:
    maps = torch.tensor([[[-1.0, 0.0], [1.0, 3.0]]])
    assert heat(maps)[0].reshape(4, 3).tolist() == [[0, 0, 0], [0, 0, 0], [255, 0, 0], [255, 255, 255]]


def test_a_few_layers_are_the_first_the_middle_and_the_last() -> None:
    assert a_few(["a", "b", "c", "d", "e"]) == ["a", "c", "e"]
    assert a_few(["a"]) == ["a"]
    assert a_few([]) == []


def test_codes_are_the_encoder_s_or_what_the_last_layer_is_given() -> None:
    images = torch.randn(2, 3, 4, 4)
    autoencoder = Autoencoder((3, 4, 4), widths=(5, 2))
    assert torch.equal(encoded(autoencoder, images), autoencoder.encode(images))
    mlp = MLP((3, 4, 4), 7, hidden=(6,))
    assert last_linear(mlp) is mlp.layers[2]
    assert torch.equal(encoded(mlp, images), mlp.layers[:2](images.flatten(1)))
    assert not any(module._forward_pre_hooks for module in mlp.modules())


def test_a_table_of_codes_reads_back(tmp_path: Path) -> None:
    codes = torch.randn(4, 3)
    (tmp_path / "codes.tsv").write_text(table(codes))
    assert np.loadtxt(tmp_path / "codes.tsv", delimiter="\t") == pytest.approx(codes.numpy(), rel=1e-4)


def test_thumbnails_stand_row_by_row_in_a_square() -> None:
    thumbnails = np.random.default_rng(0).integers(0, 256, (5, 2, 3, 3), dtype=np.uint8)
    found = np.asarray(sheet(thumbnails))
    assert found.shape == (6, 9, 3)
    assert np.array_equal(found[2:4, 3:6], thumbnails[4])
    assert np.array_equal(found[0:2, 6:9], thumbnails[2])
    assert (found[4:] == 255).all()
