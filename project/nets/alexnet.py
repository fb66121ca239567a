"""AlexNet (Krizhevsky, Sutskever & Hinton 2012, "ImageNet classification with deep convolutional neural networks")."""

from collections.abc import Sequence

from torch import Tensor, nn

FORMS = ("auto", "imagenet", "small")


class AlexNet(nn.Module):
    """Five convolutions and three fully connected layers (section 3.5, figure 2).

    `form: imagenet` is the paper's network for 227x227. `small` keeps the widths and the depth of its convolutions and
    fits them to images of about 32x32: a first kernel of 5 at stride 1, a second of 3, 1024 hidden units instead of
    4096. `auto` takes `small` below 128 pixels. `groups: 2` splits convolutions 2, 4 and 5, as the paper's two GPUs do.
    Pooling stands before normalisation, the cheaper order of Caffe's reference network; in the paper it comes after.

    Shape:
        images (B, C, H, W) to logits (B, num_classes).

    Raises:
        ValueError: a form or a number of groups that is not known, or an image size that the form does not take.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_classes: int,
        form: str = "auto",
        groups: int = 1,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        if form not in FORMS:
            raise ValueError(f"AlexNet's form is one of {', '.join(FORMS)}; got {form}: set model.net.form=auto.")
        if groups not in (1, 2):
            raise ValueError(f"AlexNet has 1 group or 2, got {groups}: set model.net.groups=1.")
        if form == "auto":
            form = "small" if min(height, width) < 128 else "imagenet"
        if form == "imagenet" and (height, width) != (227, 227):
            raise ValueError(
                f"AlexNet's ImageNet form takes 227x227 images only, got {height}x{width}: "
                "set data.image_size=227 or model.net.form=small."
            )
        if form == "small" and min(height, width) < 15:
            raise ValueError(
                f"AlexNet's three 3x3 poolings at stride 2 need images of at least 15x15, got {height}x{width}: "
                "set data.image_size=32."
            )
        if form == "imagenet":
            first = nn.Conv2d(channels, 96, 11, stride=4)  # 227 -> 55
            second = nn.Conv2d(96, 256, 5, padding=2, groups=groups)
            height, width, hidden = 55, 55, 4096
        else:
            first = nn.Conv2d(channels, 96, 5, padding=2)
            second = nn.Conv2d(96, 256, 3, padding=1, groups=groups)
            hidden = 1024
        self.features = nn.Sequential(
            first,
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),  # 55 -> 27
            local_response_norm(),
            second,
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),  # 27 -> 13
            local_response_norm(),
            nn.Conv2d(256, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 384, 3, padding=1, groups=groups),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1, groups=groups),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),  # 13 -> 6
        )
        for _ in range(3):
            height, width = (height - 1) // 2, (width - 1) // 2
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(256 * height * width, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, num_classes),
        )
        # The paper's N(0, 0.01) with biases of 1 suits its own sizes; He et al. 2015, "Delving deep", both forms.
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, num_classes)"""
        return self.classifier(self.features(images).flatten(1))


def local_response_norm() -> nn.LocalResponseNorm:
    """b_i = a_i / (k + alpha sum_{|j-i| <= n/2} a_j^2)^beta, n = 5, k = 2, alpha = 1e-4, beta = 0.75 (section 3.3)."""
    n = 5
    return nn.LocalResponseNorm(n, alpha=n * 1e-4, beta=0.75, k=2.0)  # PyTorch takes the mean, the paper the sum
