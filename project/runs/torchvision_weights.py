"""Weights that torchvision publishes, in the networks of this project that they fit."""

import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from project.data.download import check_reach, checksum
from project.errors import UserError
from project.nets.resnet import IMAGENET, ResNet
from project.nets.vgg import CONVOLUTIONS, VGG

PREFIX = "torchvision:"
NAMES = [f"vgg{depth}{norm}" for depth in CONVOLUTIONS for norm in ("", "_bn")] + [f"resnet{d}" for d in IMAGENET]
SHAPE = (3, 224, 224)


def published_network(weights: str) -> tuple[nn.Module, list[float], list[float]]:
    """The network of `torchvision:<name>` with its weights, and the mean and std of the images that it was trained on.

    They are fetched once into torch's own cache, and held against the digest in their name whenever they are read.

    Raises:
        UserError: no such network, no torchvision, no network connection, or a file that is not the published one.
    """
    name = weights.removeprefix(PREFIX)
    if not weights.startswith(PREFIX) or name not in NAMES:
        raise UserError(f"weights={weights} is unknown: choose {PREFIX}<name>, of {', '.join(NAMES)}")
    url, mean, std = published(name)
    net = _network(name)
    net.load_state_dict(torch.load(_file(url, weights), map_location="cpu", weights_only=True), assign=True)
    return net.eval(), mean, std


def published(name: str) -> tuple[str, list[float], list[float]]:
    """The address of torchvision's best weights of a network, and the mean and std that they go with.

    Raises:
        UserError: torchvision is missing.
    """
    try:
        from torchvision.models import get_model_weights
    except ImportError as error:
        raise UserError(f"weights={PREFIX}{name} needs torchvision: pip install torchvision") from error
    best: Any = get_model_weights(name).DEFAULT
    preset = best.transforms()
    return best.url, list(preset.mean), list(preset.std)


def _network(name: str) -> nn.Module:
    depth = int(re.sub(r"\D", "", name))
    with torch.device("meta"):  # the weights come from the file
        if name.startswith("resnet"):
            return ResNet(SHAPE, 1000, depth)
        return VGG(SHAPE, 1000, depth, batch_norm=name.endswith("_bn"))


def _file(url: str, weights: str) -> Path:
    """The verified file of an address whose name ends in the first digits of its SHA-256."""
    found = re.search(r"-([0-9a-f]{8,})\.pth$", url)
    assert found is not None, url
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / url.rsplit("/", 1)[-1]
    remedy = f"Put the file at {path}, or use the features of a run: run=<folder>"
    if not path.exists():
        check_reach(url, weights, folder, remedy)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), found[1])  # verified before it is moved into place
        except (OSError, RuntimeError) as error:
            raise UserError(f"{weights} cannot be fetched from {url}: {error}. {remedy}") from error
    digest = checksum(path, "sha256")
    if not digest.startswith(found[1]):
        raise UserError(f"{path} is not the published file (SHA-256 {digest}): remove it")
    return path
