import pytest
import torch
from torch import Tensor, nn

from project.nets.mlp import MLP


def with_weights(net: MLP, *weights: Tensor) -> MLP:
    net.load_state_dict(dict(zip(net.state_dict(), weights, strict=True)))
    return net


W1 = torch.tensor([[1.0, -1.0], [2.0, 0.5]])
W2 = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [3.0, -2.0]])
IMAGE = torch.tensor([1.0, 2.0]).view(1, 1, 1, 2)


def test_the_bare_class_is_one_hidden_layer_without_biases() -> None:
    net = MLP(image_shape=(1, 1, 2), num_classes=3)
    assert [tuple(parameter.shape) for parameter in net.parameters()] == [(64, 2), (3, 64)]
    assert [type(layer) for layer in net.layers] == [nn.Linear, nn.Sigmoid, nn.Linear, nn.Sigmoid]


def test_relu_of_w2_relu_of_w1_x() -> None:
    net = with_weights(MLP((1, 1, 2), 3, hidden=[2], activation="relu"), W1, W2)
    # W1 x = (-1, 3), relu -> (0, 3), W2 h = (3, 3, -6), relu -> (3, 3, 0)
    assert net(IMAGE).tolist() == [[3.0, 3.0, 0.0]]


def test_the_output_has_its_own_activation() -> None:
    net = with_weights(MLP((1, 1, 2), 3, hidden=[2], activation="relu", output_activation="identity"), W1, W2)
    assert net(IMAGE).tolist() == [[3.0, 3.0, -6.0]]


def test_biases() -> None:
    b1, b2 = torch.tensor([2.0, -1.0]), torch.tensor([0.0, 1.0, 10.0])
    net = MLP((1, 1, 2), 3, hidden=[2], activation="relu", output_activation="identity", bias=True)
    # W1 x + b1 = (1, 2), W2 h = (3, 1, -1), + b2 = (3, 2, 9)
    assert with_weights(net, W1, b1, W2, b2)(IMAGE).tolist() == [[3.0, 2.0, 9.0]]


def test_sigmoid_is_the_bare_class_s() -> None:
    net = with_weights(MLP((1, 1, 2), 3, hidden=[2]), W1, W2)
    expected = torch.sigmoid(W2 @ torch.sigmoid(W1 @ torch.tensor([1.0, 2.0])))
    torch.testing.assert_close(net(IMAGE)[0], expected)


def test_no_hidden_layer_is_linear() -> None:
    net = with_weights(MLP((1, 1, 2), 3, hidden=[], activation="identity"), W2)
    assert net(IMAGE).tolist() == [[3.0, 1.0, -1.0]]


def test_any_depth() -> None:
    net = MLP((3, 4, 4), 10, hidden=[7, 6, 5])
    assert [tuple(parameter.shape) for parameter in net.parameters()] == [(7, 48), (6, 7), (5, 6), (10, 5)]


def test_an_unknown_activation_is_refused_with_the_known_ones() -> None:
    message = (
        "one of relu, leaky_relu, elu, gelu, silu, tanh, sigmoid, identity; got rely: set model.net.activation=identity"
    )
    with pytest.raises(ValueError, match=message):
        MLP((1, 1, 2), 3, activation="rely")
    with pytest.raises(ValueError, match=r"got softmax: set model.net.output_activation=identity"):
        MLP((1, 1, 2), 3, output_activation="softmax")


def test_an_empty_layer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least one unit, got the widths \[2, 0, 3\]"):
        MLP((1, 1, 2), 3, hidden=[0])
