"""What a task and a trainer may rely on, for every member of conf/data that has videos."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from project.data.videos import VideoDataModule, VideoPart, Videos
from project.errors import UserError
from tests.data.conftest import attach
from tests.data.video_sets import build

Make = Callable[..., VideoDataModule]
Batches = list[tuple[Tensor, ...]]


@pytest.fixture(params=["moving_shapes", "video_folder"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """`make(seed=3)`: the member on small data, ready."""
    return lambda **arguments: build(request.param, tmp_path, **arguments)


def listed(batches: Batches) -> list[tuple[bytes, tuple[int, ...]]]:
    """Video by video: its frames and its labels."""
    return [
        (frames.contiguous().numpy().tobytes(), tuple(labels.tolist()))
        for batch in batches
        for frames, labels in zip(*(part.split(batch[1].tolist()) for part in (batch[0], batch[2])), strict=True)
    ]


def same(batches: Batches, others: Batches) -> bool:
    return len(batches) == len(others) and all(
        torch.equal(one, other)
        for batch, other_batch in zip(batches, others, strict=True)
        for one, other in zip(batch, other_batch, strict=True)
    )


def test_a_batch_has_the_frames_of_its_videos_one_behind_the_other() -> None:
    frames = np.arange(6, dtype=np.uint8)[:, None, None, None].repeat(3, 3)  # 1 x 1 pixel
    videos = Videos(frames, np.array([0, 2, 3, 6]), np.array([7, 8, 9, 1, 2, 3]))
    assert videos.lengths.tolist() == [2, 1, 3]
    assert videos.rows(np.array([2, 0])).tolist() == [3, 4, 5, 0, 1]
    assert videos.rows(np.array([], int)).tolist() == []
    part = VideoPart(videos, np.array([0, 2]), [0.0, 0.5, 0.0], [1.0, 1.0, 0.5])
    assert part.labels.tolist() == [7, 8, 1, 2, 3]
    images, lengths, labels = part.batch(np.array([1, 0]), torch.device("cpu"))
    assert lengths.tolist() == [3, 2]
    assert labels.tolist() == [1, 2, 3, 7, 8]
    expected = torch.tensor([3, 4, 5, 0, 1]) / 255
    assert torch.allclose(images[:, :, 0, 0], torch.stack([expected, expected - 0.5, 2 * expected], 1))


def test_sizes_counts_and_batches(make: Make) -> None:
    module = make()
    classes, shape = module.sizes["frame_classes"], module.sizes["image_shape"]
    assert len(module.classes) == classes
    assert (module.unit, module.counted) == ("frames", "videos")
    loaders = {"train": module.train_dataloader(), "val": module.val_dataloader(), "test": module.test_dataloader()}
    for split, loader in loaders.items():
        batches = list(loader)
        assert len(batches) == len(loader)
        for frames, lengths, labels in batches:
            assert frames.dtype == torch.float32
            assert frames.is_contiguous(memory_format=torch.channels_last)
            assert frames.shape == (lengths.sum(), *shape)
            assert labels.shape == (lengths.sum(),)
            assert labels.dtype == lengths.dtype == torch.int64
            assert 0 <= labels.min() <= labels.max() < classes
        seen = sum(len(lengths) for _, lengths, _ in batches)
        if split == "train":
            assert {len(lengths) for _, lengths, _ in batches} == {6}
            assert module.counts["train"] - 6 < seen <= module.counts["train"]
        else:
            assert seen == module.counts[split] > 0
    frames = torch.cat([frames for frames, *_ in module.loader("train")])
    assert frames.mean((0, 2, 3)).abs().max() < 1e-3
    assert (frames.std((0, 2, 3)) - 1).abs().max() < 0.01
    module.check_batch_size(3)


def test_no_video_is_seen_twice_and_parts_are_a_function_of_the_split_seed(make: Make) -> None:
    module = make(batch_size=1)
    parts = [listed(list(module.loader(split))) for split in ("train", "val", "test")]
    together = [video for part in parts for video in part]
    assert len(set(together)) == len(together) == sum(module.counts.values())
    held = [set(listed(list(make(split_seed=seed).val_dataloader()))) for seed in (0, 0, 1)]
    assert held[0] == held[1] != held[2]


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_share_the_global_batches_and_evaluate_every_video_once(make: Make, ranks: int) -> None:
    module = make()
    alone = [listed([batch]) for batch in module.train_dataloader()]
    tested = listed(list(module.test_dataloader()))
    shares, parts = [], []
    for rank in range(ranks):
        attach(module, rank, ranks)  # type: ignore[arg-type]
        shares.append([listed([batch]) for batch in module.train_dataloader()])
        parts.append(list(module.test_dataloader()))
    assert [[video for part in own for video in part] for own in zip(*shares, strict=True)] == alone
    assert len({len(batches) for batches in parts}) == 1  # all ranks take part in every batch
    assert sorted(video for batches in parts for video in listed(batches)) == sorted(tested)


def test_an_interrupted_epoch_goes_on_bit_for_bit(make: Make) -> None:
    module = make()
    loader = module.train_dataloader()
    loader.set_epoch(3)
    whole = list(loader)
    loader.set_epoch(4)
    assert not same(whole, list(loader))
    for position in (0, 1, len(whole)):
        resumed = module.train_dataloader()
        batches = iter(resumed)  # Lightning calls `iter` before it says the epoch
        resumed.load_state_dict({"epoch": 3, "position": position})
        resumed.set_epoch(3)
        assert same(list(batches), whole[position:])


def test_order_is_a_function_of_seed_and_epoch_and_of_no_global_number(make: Make) -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    expected = torch.rand(1).item(), np.random.random()
    torch.manual_seed(0)
    np.random.seed(0)
    first = list(make(seed=5).train_dataloader())
    assert (torch.rand(1).item(), np.random.random()) == expected
    assert same(first, list(make(seed=5).train_dataloader()))
    assert not same(first, list(make(seed=6).train_dataloader()))
    unshuffled = make(shuffle=False).train_dataloader()
    once = list(unshuffled)
    unshuffled.set_epoch(1)
    assert same(once, list(unshuffled))


def test_facts_survive_json_and_examples_go_from_short_to_long(make: Make) -> None:
    module = make()
    facts = module.facts
    assert json.loads(json.dumps(facts)) == facts == make().facts
    frames, lengths, labels = module.examples("val", 3)
    assert len(lengths) == 3
    assert lengths.tolist() == sorted(lengths.tolist())
    assert len(frames) == len(labels) == lengths.sum()
    assert same([module.examples("val", 3)], [(frames, lengths, labels)])
    assert len(module.examples("test", 1000)[1]) == module.counts["test"]


def test_batches_that_cannot_be_made_are_refused(make: Make) -> None:
    module = make()
    module.batch_size = count = module.counts["train"] + 1
    said = rf"data.batch_size={count} is larger than the training set: {count - 1} videos"
    with pytest.raises(UserError, match=said):
        module.train_dataloader()
