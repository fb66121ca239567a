"""Style transfer (Gatys, Ecker and Bethge 2016, "Image style transfer using convolutional neural networks")."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Look = Callable[[Tensor], Mapping[str, Tensor]]  # pictures (1, C, H, W) to the features of layers, (1, N, h, w) each
METHODS = ("lbfgs", "adam")
FIRST = 0.05  # mean change of what is optimised in the first step that L-BFGS tries
EDGE = 0.01  # how far from black and white a picture begins, where a sigmoid is nearly flat
HISTORY = 20  # steps that L-BFGS remembers, each as large as two pictures


def gram_matrix(features: Tensor) -> Tensor:
    """G_ij = sum_k F_ik F_jk over the places k of a map (equation 3): (B, N, h, w) -> (B, N, N)."""
    rows = features.flatten(2)
    return rows @ rows.mT


def content_loss(features: Tensor, target: Tensor) -> Tensor:
    """Half the sum of squared differences of two maps of one shape (equation 1)."""
    return (features - target).square().sum() / 2


def style_loss(features: Tensor, gram: Tensor, places: int) -> Tensor:
    """E = sum_ij (G_ij - A_ij)^2 / (4 N^2 M^2), how far the style of one layer is off (equation 4).

    The paper's two pictures are of one size, M places. Here G and A are each divided by their own.

    Args:
        features: of the picture that is made, (1, N, h, w).
        gram: A, the Gram matrix of the style's features, (1, N, N).
        places: M of the style's features.
    """
    own = gram_matrix(features) / features[0, 0].numel()
    return (own - gram / places).square().mean() / 4


def total_variation(picture: Tensor) -> Tensor:
    """The mean square of the differences between neighbouring pixels, down and across, of (1, C, H, W)."""
    parts = (picture.diff(dim=axis).square() for axis in (2, 3))
    return sum((part.sum() / max(1, part.numel()) for part in parts), start=picture.new_zeros(()))


@dataclass(frozen=True)
class Losses:
    """Of one picture; `total` is alpha content + beta style (equation 7), and the variation with its weight."""

    content: Tensor
    style: Tensor
    total: Tensor


class Objective:
    """How far a picture is from the content of one and the style of another.

    Each layer's features are divided by their mean size in both pictures. The paper scales the weights of its network
    to that end (section 2), and so alpha and beta mean the same for every network. The content loss is equation 1 per
    feature, so that they mean the same for every size of picture, too.

    Args:
        look: pictures to the features of the layers.
        content: (1, C, H, W), normalised as the network's training images, as for `style`.
        style: (1, C, H', W').
        content_layers: names of what `look` gives.
        style_layers: those of equation 5, all of the same weight 1 / L.
        alpha: of the content loss.
        beta: of the style loss.
        variation: weight of the total variation.
    """

    def __init__(
        self,
        look: Look,
        content: Tensor,
        style: Tensor,
        content_layers: Sequence[str],
        style_layers: Sequence[str],
        alpha: float = 1.0,
        beta: float = 5.0,
        variation: float = 0.0,
    ) -> None:
        self.look, self.alpha, self.beta, self.variation = look, alpha, beta, variation
        with torch.no_grad():
            of_content, of_style = look(content), look(style)
            self.scales = {
                name: 2 / (of_content[name].abs().mean() + of_style[name].abs().mean()).clamp_min(1e-12)
                for name in {*content_layers, *style_layers}
            }
            self.contents = {name: self.scales[name] * of_content[name] for name in content_layers}
            self.grams = {name: gram_matrix(self.scales[name] * of_style[name]) for name in style_layers}
            self.places = {name: of_style[name][0, 0].numel() for name in style_layers}

    def __call__(self, picture: Tensor) -> Losses:
        """The losses of (1, C, H, W), of the content's size."""
        seen = self.look(picture)
        features = {name: scale * seen[name] for name, scale in self.scales.items()}
        contents = [content_loss(features[name], target) / target.numel() for name, target in self.contents.items()]
        styles = [style_loss(features[name], gram, self.places[name]) for name, gram in self.grams.items()]
        content, style = torch.stack(contents).mean(), torch.stack(styles).mean()
        total = self.alpha * content + self.beta * style
        if self.variation:
            total = total + self.variation * total_variation(picture)
        return Losses(content, style, total)


@dataclass(frozen=True)
class Descent:
    """Goes down the gradient of the total loss on the pixels (section 2.3), which stay between black and white.

    To that end a pixel is a sigmoid of what is optimised.

    Args:
        steps: of L-BFGS (with a line search, so that the loss never rises), or of Adam.
        method: `lbfgs`, which the paper found to work best, or `adam`.
        rate: Adam's learning rate.

    Raises:
        ValueError: an argument out of range.
    """

    steps: int = 200
    method: str = "lbfgs"
    rate: float = 0.05

    def __post_init__(self) -> None:
        for name, holds, law in (
            ("steps", self.steps >= 1, "at least 1"),
            ("method", self.method in METHODS, " or ".join(METHODS)),
            ("rate", self.rate > 0, "positive"),
        ):
            if not holds:
                raise ValueError(f"{name} must be {law}, got {getattr(self, name)}")

    def __call__(
        self, objective: Callable[[Tensor], Losses], start: Tensor, low: Tensor, high: Tensor
    ) -> Iterator[tuple[Tensor, Losses]]:
        """Improve a picture.

        Args:
            objective: the losses of a picture.
            start: (1, C, H, W), normalised: the content, or noise.
            low: (C,) what black is in normalised pictures.
            high: (C,) what white is.

        Yields:
            After each step the picture and its losses.
        """
        low, high = (bound[:, None, None] for bound in (low, high))
        free = ((start - low) / (high - low)).clamp(EDGE, 1 - EDGE).logit().contiguous().requires_grad_()
        known: list[tuple[Tensor, Tensor, Losses, Tensor]] = []  # what a line search tried last, of which one is next

        def found() -> tuple[Tensor, Losses, Tensor]:
            for pixels, *results in known:
                if torch.equal(pixels, free):
                    return tuple(results)  # type: ignore[return-value]
            picture, losses, gradient = _measured(lambda x: low + (high - low) * x.sigmoid(), objective, free)
            known.insert(0, (free.detach().clone(), picture, losses, gradient))
            del known[4:]
            return picture, losses, gradient

        def closure() -> float:
            _, losses, gradient = found()
            free.grad = gradient.clone()
            return losses.total.item() * free.numel()

        optimizer = self._optimizer(free)
        for _ in range(self.steps):
            optimizer.step(closure)
            if self.method == "lbfgs":
                optimizer.param_groups[0]["lr"] = 1.0
            picture, losses, _ = found()
            yield picture, losses

    def _optimizer(self, free: Tensor) -> torch.optim.Optimizer:
        if self.method == "adam":
            return torch.optim.Adam([free], lr=self.rate)
        return torch.optim.LBFGS(
            [free],
            lr=FIRST * free.numel(),  # the length of the first step, summed over the pixels
            max_iter=1,
            max_eval=20,  # of a line search
            history_size=HISTORY,
            tolerance_grad=0,
            tolerance_change=0,
            line_search_fn="strong_wolfe",
        )


def _measured(
    pixels: Callable[[Tensor], Tensor], objective: Callable[[Tensor], Losses], free: Tensor
) -> tuple[Tensor, Losses, Tensor]:
    """The picture, its losses without their graph, and the gradient of the total times the number of pixels: L-BFGS has
    absolute thresholds, made for gradients of about 1."""
    with torch.enable_grad():
        picture = pixels(free)
        losses = objective(picture)
        (gradient,) = torch.autograd.grad(losses.total * free.numel(), free)
    known = Losses(losses.content.detach(), losses.style.detach(), losses.total.detach())
    return picture.detach(), known, gradient.contiguous()


ACTIVATIONS = (nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.LeakyReLU, nn.ELU)


def default_layers(net: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> tuple[list[str], list[str]]:
    """Layers for the content and for the style, by their depth.

    The paper's for VGG (section 3), and for any other network what corresponds to them. Stages are the activations (or
    if the network has no modules for those, the convolutions) of one height and width. The style is taken from the
    first layer of each stage, the content from the second of the last stage but one; of two stages, of the last.

    Args:
        net: whose layers they are.
        shapes: of the layers' outputs in the order of the computation, see `project.nets.layers.output_shapes`.

    Raises:
        ValueError: there is no layer that puts out maps.
    """
    stages: dict[tuple[int, ...], list[str]] = {}
    for kinds in (ACTIVATIONS, (nn.Conv2d,)):
        for name, shape in shapes.items():
            if len(shape) == 4 and isinstance(net.get_submodule(name), kinds):
                stages.setdefault(shape[2:], []).append(name)
        if stages:
            break
    if not stages:
        raise ValueError(f"{type(net).__name__} has no layers that put out maps")
    members = list(stages.values())
    deep = members[-2] if len(members) > 2 else members[-1]
    return [deep[min(1, len(deep) - 1)]], [names[0] for names in members]


def with_average_pooling(net: nn.Module) -> int:
    """Put averages in the place of all max poolings, which gives slightly smoother pictures (section 2).

    Returns:
        How many there were; 0: none that is a module of its own.
    """
    found = [(parent, name) for parent in net.modules() for name, part in parent.named_children() if _is_max(part)]
    for parent, name in found:
        pool: nn.MaxPool2d = getattr(parent, name)
        setattr(parent, name, nn.AvgPool2d(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode))
    return len(found)


def _is_max(part: nn.Module) -> bool:
    return isinstance(part, nn.MaxPool2d)
