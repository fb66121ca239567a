"""What a task and a trainer may rely on, for every data set of images with several sequences each."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from project.data.annotated import PAD, Annotated, AnnotatedDataModule
from project.data.listed_images import ListedImages
from project.data.sentences import Sentences
from project.errors import UserError
from tests.conftest import choices_for
from tests.data.annotated_sets import BuildAnnotated, build_annotated, picture, ready
from tests.data.conftest import attach

__all__ = ["build_annotated"]
MEMBERS = choices_for("data", "sequences")
Batches = list[tuple[Tensor, ...]]


@pytest.fixture(params=MEMBERS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def images(batches: Batches) -> list[dict[bytes, Any]]:
    """By image, told by its pixels, its sequences."""
    found = []
    for batch in batches:
        pixels, ids, lengths, owner = batch[:4]
        for row, image in enumerate(pixels):
            own = (owner == row).nonzero()[:, 0].tolist()
            key = image.contiguous().numpy().tobytes()
            found.append({key: [ids[: lengths[column], column].tolist() for column in own]})
    return found


def equal(batches: Batches, others: Batches) -> bool:
    return len(batches) == len(others) and all(
        len(batch) == len(other) and all(map(torch.equal, batch, other))
        for batch, other in zip(batches, others, strict=True)
    )


def test_batches_have_images_with_all_their_sequences(build_annotated: BuildAnnotated, name: str) -> None:
    module = ready(build_annotated(name, shift=0))
    assert module.counted == "images"
    assert all(0 < value < 1 for value in [*module.mean, *module.std])
    loaders = {"train": module.train_dataloader(), "val": module.val_dataloader(), "test": module.test_dataloader()}
    for split, loader in loaders.items():
        part, seen = module.parts[split], 0
        order = loader.order(0)
        for number, (pixels, ids, lengths, owner, *_) in enumerate(loader):
            places = order[loader.share(number)].tolist()
            assert pixels.dtype == torch.float32
            assert pixels.shape == (len(places), *module.sizes["image_shape"])
            assert pixels.is_contiguous(memory_format=torch.channels_last)
            assert ids.dtype == lengths.dtype == owner.dtype == torch.int64
            assert owner.tolist() == sorted(owner.tolist())
            assert set(owner.tolist()) == set(range(len(places)))
            expected = [
                part.sequences[part.first[place] + i].tolist() for place in places for i in range(part.count[place])
            ]
            assert [ids[:length, column].tolist() for column, length in enumerate(lengths.tolist())] == expected
            padding = torch.arange(len(ids))[:, None] >= lengths
            assert (ids[padding] == PAD).all()
            bytes_ = torch.from_numpy(part.images[part.rows[places]]).float().permute(0, 3, 1, 2) / 255
            mean, std = (torch.tensor(own).view(3, 1, 1) for own in (module.mean, module.std))
            torch.testing.assert_close(pixels, (bytes_ - mean) / std, rtol=1e-4, atol=1e-4)
            seen += len(places)
        assert seen == module.counts[split] - (module.counts[split] % 12 if split == "train" else 0)


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_share_every_batch_and_every_sample_once(build_annotated: BuildAnnotated, name: str, ranks: int) -> None:
    module = ready(build_annotated(name))
    alone = {split: list(loader(module)) for split, loader in LOADERS.items()}
    for split, loader in LOADERS.items():
        shares = [list(loader(attach(module, rank, ranks))) for rank in range(ranks)]  # type: ignore[arg-type]
        assert len({len(batches) for batches in shares}) == 1
        if split == "train":
            for number, whole in enumerate(alone[split]):
                pixels = torch.cat([batches[number][0] for batches in shares])
                assert torch.equal(pixels, whole[0])
                own = [one for batches in shares for one in images([batches[number]])]
                assert own == images([whole])
        else:
            seen = [one for batches in shares for one in images(batches)]
            assert sorted(map(repr, seen)) == sorted(map(repr, images(alone[split])))


LOADERS = {"train": AnnotatedDataModule.train_dataloader, "val": AnnotatedDataModule.val_dataloader}


def test_an_interrupted_epoch_goes_on_bit_for_bit(build_annotated: BuildAnnotated, name: str) -> None:
    module = ready(build_annotated(name))
    loader = module.train_dataloader()
    loader.set_epoch(3)
    whole = list(loader)
    loader.set_epoch(4)
    following = list(loader)
    for position in (0, 1, len(whole)):
        resumed = module.train_dataloader()
        batches = iter(resumed)
        resumed.load_state_dict({"epoch": 3, "position": position})
        resumed.set_epoch(3)
        assert equal(list(batches), whole[position:])
        resumed.set_epoch(4)
        assert equal(list(resumed), following)


def test_order_is_a_function_of_seed_and_epoch(build_annotated: BuildAnnotated, name: str) -> None:
    loader = ready(build_annotated(name, seed=5)).train_dataloader()
    first = list(loader)
    assert equal(first, list(loader))
    loader.set_epoch(1)
    assert not equal(first, list(loader))
    assert not equal(first, list(ready(build_annotated(name, seed=6)).train_dataloader()))
    fixed = ready(build_annotated(name, shuffle=False)).train_dataloader()
    before = list(fixed)
    fixed.set_epoch(1)
    assert equal(before, list(fixed))


def test_examples_are_the_same_ones_evenly_spread(build_annotated: BuildAnnotated, name: str) -> None:
    module = ready(build_annotated(name))
    (batch,) = module.examples("val", 3)
    places = module.places("val", 3)
    assert places[0] == 0
    assert places[-1] == module.counts["val"] - 1
    every = images(list(module.val_dataloader()))
    assert images([batch]) == [every[place] for place in places]
    attach(module, 1, 2)  # type: ignore[arg-type]
    assert equal(list(module.examples("val", 3)), [batch])


def test_too_large_a_batch_and_uneven_shares_are_refused(build_annotated: BuildAnnotated, name: str) -> None:
    module = ready(build_annotated(name))
    with pytest.raises(UserError, match=r"data.batch_size=12 cannot be shared evenly by 5 processes"):
        module.check_batch_size(5)
    module.batch_size = 1000
    with pytest.raises(UserError, match=rf"larger than the training set: {module.counts['train']} images"):
        module.train_dataloader()


@pytest.mark.parametrize(
    ("argument", "value", "law"),
    [
        ("batch_size", 0, "data.batch_size must be at least 1, got 0"),
        ("shift", -1, "data.shift must be at least 0 pixels, got -1"),
        ("padding", "grey", "data.padding must be zero or reflect, got grey"),
        ("val_fraction", 0.0, "data.val_fraction must lie between 0 and 1, both excluded, got 0.0"),
        ("min_count", 0, "data.min_count must be at least 1, got 0"),
        ("max_length", 0, "data.max_length must be at least 1 word, got 0"),
    ],
)
def test_laws_of_the_arguments(build_annotated: BuildAnnotated, argument: str, value: Any, law: str) -> None:
    with pytest.raises(Exception, match=law):
        build_annotated("scenes", **({"val_fraction": 0.1} | {argument: value}))


def test_sequences_that_do_not_fit_the_images_are_refused() -> None:
    pixels, two = np.zeros((2, 4, 4, 3), np.uint8), Sentences.of([[2, 3], [2, 3]])
    with pytest.raises(ValueError, match="every image must have at least one sequence, got 0"):
        Annotated.whole(pixels, two, np.array([2, 0]))
    with pytest.raises(ValueError, match="3 sequences are counted, got 2"):
        Annotated.whole(pixels, two, np.array([1, 2]))


def test_images_that_a_list_names(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / "pictures" / f"{number}.jpg", number, size=(30, 20))
    (tmp_path / "pictures" / "1.jpg").write_bytes(b"no image")
    picture(tmp_path / "secret.jpg", 9)
    listed = tmp_path / "list.txt"
    options = {"image_size": 16, "cache_folder": str(tmp_path / "cache"), "num_workers": 0}
    strict, lenient = ListedImages(**options), ListedImages(**options, on_error="skip")  # type: ignore[arg-type]
    root = tmp_path / "pictures"
    with pytest.raises(UserError, match=r"1\.jpg cannot be read as an image.*\nRepair"):
        strict.read(root, ["0.jpg", "1.jpg"], listed)
    pixels, readable = lenient.read(root, ["2.jpg", "1.jpg", "0.jpg"], listed)
    assert readable.tolist() == [True, False, True]
    assert pixels.shape == (3, 16, 16, 3)
    assert np.array_equal(pixels[0], strict.read(root, ["2.jpg"], listed)[0][0])
    with pytest.raises(UserError, match=r"names '9\.jpg', and .* is not there: No such file"):
        strict.read(root, ["9.jpg"], listed)
    for name in ("../secret.jpg", str(tmp_path / "secret.jpg")):
        with pytest.raises(UserError, match="names an image outside of its folder"):
            lenient.read(root, [name], listed)
    with pytest.raises(UserError, match=r"3 images of 16x16 take 0\.0 GiB, more than data\.cache=1e-06"):
        ListedImages(**options, cache=1e-6).read(root, ["0.jpg", "1.jpg", "2.jpg"], listed)  # type: ignore[arg-type]
