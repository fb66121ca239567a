"""Autoencoders: a code much smaller than the image, and the image back from it."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from project.nets.mlp import activation_named, fully_connected


class Autoencoder(nn.Module):
    """Fully connected, the decoder mirrors the encoder (Hinton & Salakhutdinov 2006, figure 1).

    `widths` are the encoder's layers after the image; the last one is the code. Code and output are linear.
    With `activation: identity` the network is linear, and the best it can do is to project on the span of the leading
    singular vectors of the data (Baldi & Hornik 1989). A linear one has no biases, any other has, unless `bias` says.

    Shape:
        images (B, C, H, W) to codes (B, widths[-1]) and back.

    Raises:
        ValueError: no widths, or an activation that is not known.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        widths: Sequence[int] = (1024, 256, 64),
        activation: str = "relu",
        output_activation: str = "identity",
        bias: bool | None = None,
    ) -> None:
        super().__init__()
        if not widths:
            raise ValueError("An autoencoder's last width is its code, got no widths: set model.net.widths=[64].")
        self.image_shape = tuple(image_shape)
        bias = activation != "identity" if bias is None else bias
        down = [math.prod(image_shape), *widths]
        self.encoder = fully_connected(down, activation, "identity", bias)
        self.decoder = fully_connected(down[::-1], activation, output_activation, bias)

    def encode(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, widths[-1])"""
        return self.encoder(images.flatten(1))

    def decode(self, code: Tensor) -> Tensor:
        """(B, widths[-1]) -> (B, C, H, W)"""
        return self.decoder(code).unflatten(1, self.image_shape)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)"""
        return self.decode(self.encode(images))


class ConvAutoencoder(nn.Module):
    """Convolutional (Masci et al. 2011): each layer halves the image, the decoder's transposed ones double it again.

    `channels` are the encoder's; the last is the code's, so that with n layers the code is a map of
    channels[-1] x H/2^n x W/2^n numbers. Code and output are linear.

    Shape:
        images (B, C, H, W) to codes (B, channels[-1], H/2^n, W/2^n) and back.

    Raises:
        ValueError: no channels, or a side that cannot be halved that often.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        channels: Sequence[int] = (64, 128, 16),
        activation: str = "relu",
        output_activation: str = "identity",
    ) -> None:
        super().__init__()
        image_channels, height, width = image_shape
        if not channels:
            raise ValueError(
                "An autoencoder's last layer is its code, got no channels: set model.net.channels=[64,16]."
            )
        factor = 2 ** len(channels)
        if height % factor or width % factor:
            size = max(1, round(height / factor)) * factor
            raise ValueError(
                f"{len(channels)} layers that halve the image need a height and width divisible by {factor}, "
                f"got {height}x{width}: set data.image_size={size} or fewer model.net.channels."
            )
        # 4x4 at stride 2: every pixel is covered by the same number of windows, so no checkerboard (Odena et al. 2016).
        encoder: list[nn.Module] = []
        decoder: list[nn.Module] = []
        pairs = list(pairwise([image_channels, *channels]))
        for inputs, outputs in pairs:
            encoder += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), activation_named(activation)]
        for outputs, inputs in reversed(pairs):
            decoder += [nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1), activation_named(activation)]
        self.encoder = nn.Sequential(*encoder[:-1])
        self.decoder = nn.Sequential(*decoder[:-1], activation_named(output_activation, "output_activation"))

    def encode(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, channels[-1], H / 2^n, W / 2^n)"""
        return self.encoder(images)

    def decode(self, code: Tensor) -> Tensor:
        """(B, channels[-1], H / 2^n, W / 2^n) -> (B, C, H, W)"""
        return self.decoder(code)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)"""
        return self.decode(self.encode(images))
