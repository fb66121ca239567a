"""Residual networks (He et al. 2015, "Deep residual learning for image recognition")."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

# Table 1: blocks per stage, and whether they are bottlenecks. The depths of section 4.2, for CIFAR-10, are 6n+2.
IMAGENET = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}
STEMS = ("auto", "imagenet", "small")
SHORTCUTS = ("auto", "A", "B")


class PaddedIdentity(nn.Module):
    """Option A: the identity at a stride, with zeros for the channels that are new; no parameters."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.new_channels, self.stride = outputs - inputs, stride

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)"""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


def resized(inputs: int, outputs: int, stride: int, option: str) -> nn.Module | None:
    """None where the identity fits; otherwise option A, or option B: a 1x1 projection (equation 2)."""
    if inputs == outputs and stride == 1:
        return None
    if option == "A":
        return PaddedIdentity(inputs, outputs, stride)
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """y = relu(F(x) + x), F = bn conv3x3 relu bn conv3x3 (equation 1, figure 5 left)."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, option: str) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, width, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(width, width)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = resized(inputs, width, stride, option)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, width, H / stride, W / stride)"""
        residual = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        residual += x if self.downsample is None else self.downsample(x)
        return self.relu(residual)


class Bottleneck(nn.Module):
    """The 1x1, 3x3, 1x1 block (figure 5 right). Its 3x3 strides, as in torchvision; in the paper the first 1x1 does."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, option: str) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = resized(inputs, outputs, stride, option)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, 4 width, H / stride, W / stride)"""
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.relu(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        residual += x if self.downsample is None else self.downsample(x)
        return self.relu(residual)


class ResNet(nn.Module):
    """Depth 18, 34, 50, 101, 152: the ImageNet form (table 1). Any other 6n+2 from 20 on: the CIFAR form (section 4.2).

    ImageNet form: four stages from 64 channels. `stem: imagenet` is 7x7 at stride 2 and a max pooling, `small` 3x3 at
    stride 1 and none; `auto` takes `small` below 128 pixels. With the ImageNet stem and option B, the modules fit
    `load_state_dict(torchvision.models.resnet50(...).state_dict())`.
    CIFAR form: three stages of 16, 32, 64 channels after a 3x3 at stride 1.
    `shortcut` is option A or B where sizes change; `auto` is A in the CIFAR form, B in the other.
    `zero_init_residual` starts every block as the identity (Goyal et al. 2017, section 5.1).

    Shape:
        images (B, C, H, W) to logits (B, num_classes).

    Raises:
        ValueError: a depth, stem or shortcut that is not known.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_classes: int,
        depth: int = 20,
        stem: str = "auto",
        shortcut: str = "auto",
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        cifar = depth not in IMAGENET
        if cifar and (depth < 20 or depth % 6 != 2):
            raise ValueError(
                "ResNet's depth is one of 18, 34, 50, 101, 152 (ImageNet form) or 6n+2 from 20 on: 20, 32, 44, 56, 110 "
                f"(CIFAR form); got {depth}: set model.net.depth=20."
            )
        if stem not in STEMS or (cifar and stem == "imagenet"):
            allowed = "auto, small in the CIFAR form" if cifar else ", ".join(STEMS)
            raise ValueError(f"The stem of ResNet-{depth} is one of {allowed}; got {stem}: set model.net.stem=auto.")
        if shortcut not in SHORTCUTS:
            raise ValueError(f"ResNet's shortcut is one of auto, A, B; got {shortcut}: set model.net.shortcut=auto.")
        if shortcut == "auto":
            shortcut = "A" if cifar else "B"
        repeats, bottleneck = ((depth // 6,) * 3, False) if cifar else IMAGENET[depth]
        block = Bottleneck if bottleneck else BasicBlock
        channels, height, width = image_shape
        first = inputs = 16 if cifar else 64
        self.maxpool: nn.Module
        if cifar or stem == "small" or (stem == "auto" and min(height, width) < 128):
            self.conv1 = conv3x3(channels, first)
            self.maxpool = nn.Identity()
        else:
            self.conv1 = nn.Conv2d(channels, first, 7, stride=2, padding=3, bias=False)
            self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.bn1 = nn.BatchNorm2d(first)
        self.relu = nn.ReLU(inplace=True)
        stages: list[nn.Module] = []
        for stage, blocks in enumerate(repeats):
            layers: list[nn.Module] = []
            for index in range(blocks):
                layers.append(block(inputs, first * 2**stage, 2 if stage and not index else 1, shortcut))
                inputs = first * 2**stage * block.expansion
            stages.append(nn.Sequential(*layers))
        self.layer1, self.layer2, self.layer3, self.layer4 = [*stages, nn.Identity()][:4]
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, num_classes)
        self.initialise(zero_init_residual)

    def initialise(self, zero_init_residual: bool) -> None:
        """N(0, 2 / fan-out) for every convolution ("Delving deep into rectifiers", eq. 14), as in torchvision."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif zero_init_residual and isinstance(module, BasicBlock | Bottleneck):
                nn.init.zeros_((module.bn3 if isinstance(module, Bottleneck) else module.bn2).weight)

    def features(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / s, W / s): s = 4 in the CIFAR form, 32 in the other, 8 with the small stem."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, num_classes)"""
        return self.fc(self.avgpool(self.features(images)).flatten(1))
