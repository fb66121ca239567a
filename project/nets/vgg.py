"""VGG (Simonyan & Zisserman 2014, "Very deep convolutional networks for large-scale image recognition")."""

from collections.abc import Sequence

from torch import Tensor, nn

# Table 1, columns A, B, D, E: how many 3x3 convolutions stand before each of the five poolings.
CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)
HEADS = ("auto", "imagenet", "small")


class VGG(nn.Module):
    """Five stages of 3x3 convolutions, each closed by a 2x2 max pooling, and a fully connected head.

    `head: imagenet` is the paper's 25088-4096-4096-num_classes on a 7x7 map; `small` averages the map and has
    512-512-num_classes. `auto` takes `small` below 128 pixels. Modules carry torchvision's names: with the ImageNet
    head, `load_state_dict(torchvision.models.vgg16(...).state_dict())` fits.

    Shape:
        images (B, C, H, W) to logits (B, num_classes).

    Raises:
        ValueError: a depth or a head that is not known, or images too small for five poolings.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_classes: int,
        depth: int = 16,
        batch_norm: bool = True,
        head: str = "auto",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        if depth not in CONVOLUTIONS:
            raise ValueError(f"VGG's depth is one of 11, 13, 16, 19; got {depth}: set model.net.depth=16.")
        if head not in HEADS:
            raise ValueError(f"VGG's head is one of {', '.join(HEADS)}; got {head}: set model.net.head=auto.")
        if min(height, width) < 32:
            raise ValueError(
                f"VGG halves the image five times and needs at least 32x32, got {height}x{width}: "
                "set data.image_size=32."
            )
        if head == "auto":
            head = "small" if min(height, width) < 128 else "imagenet"
        layers: list[nn.Module] = []
        for outputs, repeats in zip(WIDTHS, CONVOLUTIONS[depth], strict=True):
            for _ in range(repeats):
                layers.append(nn.Conv2d(channels, outputs, 3, padding=1))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(outputs))
                layers.append(nn.ReLU(inplace=True))
                channels = outputs
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        if head == "imagenet":
            self.avgpool = nn.AdaptiveAvgPool2d(7)
            self.classifier = nn.Sequential(
                nn.Linear(512 * 7 * 7, 4096),
                nn.ReLU(inplace=True),
                nn.Dropout(dropout),
                nn.Linear(4096, 4096),
                nn.ReLU(inplace=True),
                nn.Dropout(dropout),
                nn.Linear(4096, num_classes),
            )
        else:
            hidden = nn.Linear(512, 512)
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.classifier = nn.Sequential(
                hidden, nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Linear(512, num_classes)
            )
        self.initialise()
        if (
            head == "small" and not batch_norm
        ):  # its features are too faint for weights of 0.01: the loss stays at log K
            nn.init.kaiming_normal_(hidden.weight, nonlinearity="relu")

    def initialise(self) -> None:
        """As torchvision: convolutions by He et al. 2015, "Delving deep", eq. 14; linear layers N(0, 0.01)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, num_classes)"""
        return self.classifier(self.avgpool(self.features(images)).flatten(1))
