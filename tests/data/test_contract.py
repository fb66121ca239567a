"""What a task and a trainer may rely on, for every data set of images in conf/data."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor

from project.data.images import ImageDataModule
from project.data.loader import Batch, EpochLoader
from project.errors import UserError
from tests.conftest import choices_for
from tests.data.conftest import Build, attach, equal

LABELLED = [*choices_for("data", "images"), "image_folder, streamed"]
TARGETED = choices_for("data", "targets")  # their targets move with the images


@pytest.fixture(params=[*LABELLED, *TARGETED])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=LABELLED)
def labelled(request: pytest.FixtureRequest) -> str:
    return request.param


def augmented(name: str) -> dict[str, float]:
    """What is done to images beyond the defaults."""
    return {"color": 0.1} if name in TARGETED else {"cutout": 4}


def ready(module: ImageDataModule) -> ImageDataModule:
    module.prepare_data()
    module.setup("fit")
    return module


def keys(images: Tensor) -> list[bytes]:
    """One key for each image: its values."""
    return [image.contiguous().numpy().tobytes() for image in images]


def all_keys(loader: EpochLoader) -> list[bytes]:
    return [key for images, _ in loader for key in keys(images)]


def test_sizes_and_batches(build: Build, labelled: str) -> None:
    module = ready(build(labelled))
    classes, shape = module.sizes["num_classes"], module.sizes["image_shape"]
    assert len(module.classes) == classes
    assert all(type(size) is int for size in [classes, *shape])
    assert len(module.mean) == len(module.std) == shape[0] == 3
    assert all(0 < value < 1 for value in [*module.mean, *module.std])
    loaders = {"train": module.train_dataloader(), "val": module.val_dataloader(), "test": module.test_dataloader()}
    for split, loader in loaders.items():
        batches = list(loader)
        assert len(batches) == len(loader)
        for images, labels in batches:
            assert images.dtype == torch.float32
            assert labels.dtype == torch.int64
            assert images.is_contiguous(memory_format=torch.channels_last)
            assert images.shape == (len(labels), *shape)
            assert 0 <= labels.min() <= labels.max() < classes
        seen = sum(len(labels) for _, labels in batches)
        if split == "train":
            assert {len(labels) for _, labels in batches} == {12}
            assert module.counts["train"] - 12 < seen <= module.counts["train"]
        else:
            assert seen == module.counts[split]


def test_validation_images_are_held_out_by_class(build: Build, labelled: str) -> None:
    module = ready(build(labelled, batch_size=1, shift=0, flip=False, val_fraction=0.25))
    splits = {split: part.rows.tolist() for split, part in module.splits.items()}
    labels = {split: Counter(part.labels.tolist()) for split, part in module.splits.items()}
    assert set(labels["train"]) == set(labels["val"]) == set(range(module.sizes["num_classes"]))
    for label, count in labels["val"].items():
        assert count == round((count + labels["train"][label]) * 0.25)
    assert not set(splits["train"]) & set(splits["val"])
    assert splits == {
        split: part.rows.tolist() for split, part in ready(build(labelled, val_fraction=0.25)).splits.items()
    }
    other = ready(build(labelled, val_fraction=0.25, split_seed=1))
    assert other.splits["val"].rows.tolist() != splits["val"]


def test_no_image_stands_in_two_splits(build: Build, name: str) -> None:
    module = ready(build(name))
    evaluated = [all_keys(loader) for loader in (module.val_dataloader(), module.test_dataloader())]
    train = module.loader(module.splits["train"])  # without augmentation, as in evaluation
    together = [*all_keys(train), *evaluated[0], *evaluated[1]]
    assert len(set(together)) == len(together) == sum(module.counts.values())


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_evaluate_every_sample_once(build: Build, name: str, ranks: int) -> None:
    module = ready(build(name))
    alone = {"val": list(module.val_dataloader()), "test": list(module.test_dataloader())}
    parts: dict[str, list[list[Batch]]] = {"val": [], "test": []}
    for rank in range(ranks):
        attach(module, rank, ranks)
        parts["val"].append(list(module.val_dataloader()))
        parts["test"].append(list(module.test_dataloader()))
    for split, shares in parts.items():
        assert len({len(batches) for batches in shares}) == 1  # all ranks take part in every batch
        assert all(len(labels) for batches in shares for _, labels in batches)
        seen = [key for batches in shares for images, _ in batches for key in keys(images)]
        assert sorted(seen) == sorted(key for images, _ in alone[split] for key in keys(images))


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_ranks_share_the_same_global_batches(build: Build, name: str, ranks: int) -> None:
    module = ready(build(name, **augmented(name)))
    alone = list(module.train_dataloader())
    shares = [list(attach(module, rank, ranks).train_dataloader()) for rank in range(ranks)]
    joined = [
        (torch.cat([x for x, _ in slices]), torch.cat([y for _, y in slices])) for slices in zip(*shares, strict=True)
    ]
    assert equal(joined, alone)


def test_an_interrupted_epoch_goes_on_bit_for_bit(build: Build, name: str) -> None:
    module = ready(build(name, **augmented(name)))
    loader = module.train_dataloader()
    loader.set_epoch(3)
    whole = list(loader)
    loader.set_epoch(4)
    following = list(loader)
    for position in (0, 1, len(whole) - 1, len(whole)):
        resumed = module.train_dataloader()
        batches = iter(resumed)  # Lightning calls `iter` before it says the epoch
        resumed.load_state_dict({"epoch": 3, "position": position})
        resumed.set_epoch(3)
        assert resumed.state_dict() == {"epoch": 3, "position": position, "batches": len(resumed)}
        assert len(resumed) == len(whole)
        assert equal(list(batches), whole[position:])
        resumed.set_epoch(4)
        assert resumed.state_dict() == {"epoch": 4, "position": 0, "batches": len(resumed)}
        assert equal(list(resumed), following)


def test_order_is_a_function_of_seed_and_epoch(build: Build, name: str) -> None:
    loader = ready(build(name, seed=5)).train_dataloader()
    first, again = list(loader), list(loader)
    assert equal(first, again)  # no other epoch was asked for
    loader.set_epoch(1)
    assert not equal(first, list(loader))
    assert equal(first, list(ready(build(name, seed=5)).train_dataloader()))
    assert not equal(first, list(ready(build(name, seed=6)).train_dataloader()))


def test_shuffle_off_keeps_the_order_of_the_first_epoch(build: Build, name: str) -> None:
    loader = ready(build(name, shuffle=False, shift=0, flip=False)).train_dataloader()
    labels = [y.tolist() for _, y in loader]
    loader.set_epoch(1)
    assert [y.tolist() for _, y in loader] == labels
    assert labels != sorted(labels)


def test_a_batch_larger_than_the_data_is_refused(build: Build, name: str) -> None:
    module = ready(build(name))
    module.batch_size = module.counts["train"] + 1
    with pytest.raises(
        UserError, match=rf"data.batch_size=\d+ is larger than the training set: {module.counts['train']}"
    ):
        module.train_dataloader()


def test_a_batch_that_the_ranks_cannot_share_is_refused(build: Build, name: str) -> None:
    module = attach(ready(build(name, batch_size=10)), rank=0, world_size=4)
    with pytest.raises(
        UserError, match=r"data.batch_size=10 cannot be shared evenly by 4 processes.\n.*data.batch_size=12"
    ):
        module.train_dataloader()


def test_the_global_random_numbers_stay_where_they_are(build: Build, name: str) -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    expected = torch.rand(1).item(), np.random.random()
    torch.manual_seed(0)
    np.random.seed(0)
    list(ready(build(name)).train_dataloader())
    assert (torch.rand(1).item(), np.random.random()) == expected


@pytest.mark.parametrize(
    ("argument", "value", "law"),
    [
        ("batch_size", 0, "data.batch_size must be at least 1, got 0"),
        ("eval_batch_size", -1, "data.eval_batch_size must be at least 1, got -1"),
        ("val_fraction", 1.0, "data.val_fraction must lie between 0 and 1, both excluded, got 1.0"),
        ("split_seed", -1, "data.split_seed must be at least 0, got -1"),
        ("seed", -1, "data.seed must be at least 0, got -1"),
        ("shift", -1, "data.shift must be at least 0 pixels, got -1"),
        ("cutout", -2, r"data.cutout must be at least 0 pixels \(0: none\), got -2"),
    ],
)
def test_laws_of_the_arguments(build: Build, name: str, argument: str, value: float, law: str) -> None:
    if argument == "cutout" and name in TARGETED:
        return  # a target would lose its place
    with pytest.raises(Exception, match=law) as caught:
        build(name, **{argument: value})
    assert isinstance(caught.value.__cause__ or caught.value, ValueError)
