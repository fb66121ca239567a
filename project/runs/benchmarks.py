"""Speed, shown side by side with plain code that anybody can check."""

import time
from collections.abc import Callable, Iterable
from statistics import median

import torch
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from project.data.loader import ImageLoader
from project.runs.provenance import hardware
from project.runs.tables import table

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


class PilImages(Dataset):
    """torchvision's usual pipeline: each sample becomes a PIL image and is transformed by itself."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.images, self.labels = images.numpy(), labels
        self.transform = transforms.Compose(
            [
                transforms.ToPILImage(),
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.transform(self.images[index]), self.labels[index]


def input_pipeline(count: int, repeats: int, batch_size: int = 128) -> str:
    """Images per second of one epoch: shift by up to 4, mirror, normalise; both sides in turn, `repeats` times.

    Args:
        count: 32x32 images of random bytes.
        repeats: epochs of our loader; each is followed by a twentieth of an epoch of the reference.

    Returns:
        A table with the medians, their ratio, and the machine.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (count,), generator=generator)
    part = max(batch_size, count // 20)
    ours = ImageLoader(images, labels, min(batch_size, count), mean=MEAN, std=STD, train=True, shift=4, flip=True)
    reference = DataLoader(PilImages(images[:part], labels[:part]), batch_size, shuffle=True, num_workers=0)
    sides: dict[str, Callable[[], Iterable]] = {"ours": lambda: ours, "PIL": lambda: reference}
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(repeats + 1):
        for name, side in sides.items():
            start, seen = time.perf_counter(), 0
            for batch, _ in side():
                seen += len(batch)
            if repeat:  # the first is a warm-up
                rates[name].append(seen / (time.perf_counter() - start))
    ratios = [mine / other for mine, other in zip(rates["ours"], rates["PIL"], strict=True)]
    rows = [_row(name, values, ",.0f") for name, values in rates.items()] + [_row("ours / PIL", ratios, ".1f")]
    machine = hardware()
    what = f"{repeats} repeats of {count} images, batch {batch_size}, torch {torch.__version__}, {machine['processor']}"
    return f"{table(rows)}\n{what}, {machine['cores']} cores, {machine['threads']} threads"


def _row(name: str, values: list[float], form: str) -> dict[str, str]:
    figures = {"median": median(values), "min": min(values), "max": max(values)}
    return {"images/s": name} | {figure: format(value, form) for figure, value in figures.items()}
