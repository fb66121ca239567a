"""Speed, shown side by side with plain code that anybody can check."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from project.benchmarks.measuring import Figure, finish, in_turn
from project.benchmarks.step import MEAN, STD
from project.data.loader import ImageLoader


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


def input_pipeline(repeats: int, count: int = 20_000, batch_size: int = 128, device: str = "cpu") -> list[Figure]:
    """Images per second of one epoch: shift by up to 4, mirror, normalise; both sides in turn, `repeats` times.

    Args:
        repeats: epochs of our loader; each is followed by a twentieth of an epoch of the reference.
        count: 32x32 images of random bytes.
        batch_size: of both.
        device: on which our batches are made; the reference's stay on the CPU.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (count,), generator=generator)
    part = max(batch_size, count // 20)
    options: dict[str, Any] = {"mean": MEAN, "std": STD, "train": True, "shift": 4, "flip": True, "device": device}
    ours = ImageLoader(images, labels, min(batch_size, count), **options)
    reference = DataLoader(PilImages(images[:part], labels[:part]), batch_size, shuffle=True, num_workers=0)
    sides: dict[str, Callable[[], Any]] = {"ours": lambda: ours, "PIL": lambda: reference}
    times = in_turn(sides, repeats, seconds=lambda side: _seconds_of_an_image(side()))
    rates = {name: [1 / seconds for seconds in found] for name, found in times.items()}
    what = f"input of CIFAR's size, batch {batch_size}, against PIL transforms per sample"
    return [Figure(what, "images/s", rates["ours"], rates["PIL"], ">= 24")]


def _seconds_of_an_image(batches: Iterable[Any]) -> float:
    start, seen = time.perf_counter(), 0
    for batch, _ in batches:
        seen += len(batch)
    finish()
    return (time.perf_counter() - start) / seen
