"""What a task and a trainer may rely on, for every member of conf/data that has sentences."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from project.data.sentences import Part, SentenceDataModule, SentenceLoader, Sentences
from project.errors import UserError
from tests.data.conftest import attach
from tests.data.sentence_sets import MEMBERS, TRANSLATIONS, BuildSentences, Sample, build, samples, small

Batches = list[tuple[Tensor, ...]]


@pytest.fixture(params=MEMBERS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def make(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BuildSentences:
    """`make(seed=3)`: the member on small data, ready."""
    settings = small(name, tmp_path, monkeypatch)
    return lambda **arguments: build(name, **{**settings, **arguments})


def same(batches: Batches, others: Batches) -> bool:
    """Bit for bit, batch by batch."""
    return len(batches) == len(others) and all(
        torch.equal(one, other)
        for batch, other_batch in zip(batches, others, strict=True)
        for one, other in zip(batch, other_batch, strict=True)
    )


def listed(batches: Batches) -> list[Sample]:
    return [sample for batch in batches for sample in samples(batch)]


def test_sentences_of_ids() -> None:
    sentences = Sentences.of([[5, 6, 7], [8], np.array([9, 10])])
    assert sentences.ids.dtype == np.int32
    assert sentences.starts.tolist() == [0, 3, 4, 6]
    assert sentences.lengths.tolist() == [3, 1, 2]
    assert sentences[2].tolist() == [9, 10]
    padded = sentences.padded(np.array([1, 2]), padding=0)
    assert padded.dtype == np.int64
    assert padded.tolist() == [[8, 9], [0, 10]]
    assert sentences.padded(np.array([2, 0]), padding=1).tolist() == [[9, 5], [10, 6], [1, 7]]


class Lengths:
    """A part of which only the lengths matter: a batch has the samples' numbers."""

    def __init__(self, *lengths: np.ndarray) -> None:
        self.lengths = lengths

    def __len__(self) -> int:
        return len(self.lengths[0])

    def batch(self, numbers: np.ndarray, device: torch.device) -> tuple[Tensor, ...]:
        return (torch.from_numpy(numbers),)


def test_evaluation_goes_from_short_to_long_and_tells_the_order() -> None:
    part: Part = Lengths(np.array([3, 1, 2, 1, 3]), np.array([5, 5, 5, 4, 4]))
    loader = SentenceLoader(part, 2)
    assert loader.order(0).tolist() == [3, 1, 2, 4, 0]  # equal first lengths: by the second
    assert [numbers.tolist() for (numbers,) in loader] == [[3, 1], [2, 4], [0]]
    equal = SentenceLoader(Lengths(np.ones(40, int)), 8)
    assert equal.order(0).tolist() == list(range(40))


def test_training_batches_hold_sentences_of_about_one_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, 64 * 120 + 30)
    loader = SentenceLoader(Lengths(lengths), 64, train=True)
    for epoch in (0, 1):
        order = loader.order(epoch).numpy()
        assert sorted(order) == list(range(len(lengths)))
        rows = lengths[order[: 64 * 120]].reshape(120, 64)
        assert (rows.max(1) - rows.min(1)).mean() < 3
        assert abs(np.corrcoef(np.arange(120), rows.mean(1))[0, 1]) < 0.3  # short and long ones in turn
        left = lengths[order[64 * 120 :]]
        assert left.std() > 12  # those left out are any, not the longest
    assert loader.order(0).tolist() != loader.order(1).tolist()


def test_sizes_counts_and_batches(make: BuildSentences, name: str) -> None:
    module = make()
    assert all(type(size) is int for size in module.sizes.values())
    assert module.counted == ("sentence pairs" if name in TRANSLATIONS else "sentences")
    assert module.unit == ("tokens" if name in TRANSLATIONS else "sentences")
    loaders = {"train": module.train_dataloader(), "val": module.val_dataloader(), "test": module.test_dataloader()}
    for split, loader in loaders.items():
        batches = list(loader)
        assert len(batches) == len(loader)
        for ids, lengths, last in batches:
            assert {ids.dtype, lengths.dtype, last.dtype} == {torch.int64}
            assert len(ids) == lengths.max()
            assert lengths.min() >= 1
            assert ids.max() < next(iter(module.sizes.values()))
            padding = torch.arange(len(ids))[:, None] >= lengths
            assert (ids[padding] == (name in TRANSLATIONS)).all()  # 1 is <pad>, 0 pads reviews
        seen = sum(len(lengths) for _, lengths, _ in batches)
        if split == "train":
            assert {len(lengths) for _, lengths, _ in batches} == {12}
            assert module.counts["train"] - 12 < seen <= module.counts["train"]
        else:
            assert seen == module.counts[split]
    module.check_batch_size(3)


def test_facts_survive_json(make: BuildSentences) -> None:
    facts = make().facts
    assert json.loads(json.dumps(facts)) == facts == make().facts


def test_no_sample_is_seen_twice(make: BuildSentences) -> None:
    module = make(batch_size=1)
    together = [
        *listed(list(module.train_dataloader())),
        *listed(list(module.val_dataloader())),
        *listed(list(module.test_dataloader())),
    ]
    assert len(together) == sum(module.counts.values())
    assert Counter(together).most_common(1)[0][1] == 1


def test_held_out_sentences_are_a_function_of_the_split_seed(make: BuildSentences, name: str) -> None:
    if name == "multi30k":
        return  # its parts are given
    held = [set(listed(list(make(split_seed=seed).val_dataloader()))) for seed in (0, 0, 1)]
    assert held[0] == held[1] != held[2]


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_evaluate_every_sample_once(make: BuildSentences, ranks: int) -> None:
    module = make()
    alone = listed(list(module.test_dataloader()))
    shares = [list(attach_sentences(module, rank, ranks).test_dataloader()) for rank in range(ranks)]
    assert len({len(batches) for batches in shares}) == 1  # all ranks take part in every batch
    assert all(len(lengths) for batches in shares for _, lengths, _ in batches)
    assert sorted(sample for batches in shares for sample in listed(batches)) == sorted(alone)


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_ranks_share_the_same_global_batches(make: BuildSentences, ranks: int) -> None:
    module = make()
    alone = [samples(batch) for batch in module.train_dataloader()]
    shares = [list(attach_sentences(module, rank, ranks).train_dataloader()) for rank in range(ranks)]
    joined = [[sample for part in parts for sample in samples(part)] for parts in zip(*shares, strict=True)]
    assert joined == alone


def test_an_interrupted_epoch_goes_on_bit_for_bit(make: BuildSentences) -> None:
    module = make()
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
        assert same(list(batches), whole[position:])
        resumed.set_epoch(4)
        assert same(list(resumed), following)


def test_order_is_a_function_of_seed_and_epoch(make: BuildSentences) -> None:
    loader = make(seed=5).train_dataloader()
    first = list(loader)
    assert same(first, list(loader))
    loader.set_epoch(1)
    assert not same(first, list(loader))
    assert same(first, list(make(seed=5).train_dataloader()))
    assert not same(first, list(make(seed=6).train_dataloader()))


def test_shuffle_off_keeps_the_order_of_the_first_epoch(make: BuildSentences) -> None:
    loader = make(shuffle=False).train_dataloader()
    first = list(loader)
    loader.set_epoch(1)
    assert same(first, list(loader))


def test_batches_that_cannot_be_made_are_refused(make: BuildSentences) -> None:
    module = make()
    count, unit = module.counts["train"], module.counted
    module.batch_size = count + 1
    with pytest.raises(UserError, match=rf"data.batch_size={count + 1} is larger than .*: {count} {unit}"):
        module.train_dataloader()
    module.batch_size = 10
    with pytest.raises(UserError, match=r"data.batch_size=10 cannot be shared evenly by 4 processes"):
        module.check_batch_size(4)


def test_the_global_random_numbers_stay_where_they_are(make: BuildSentences) -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    expected = torch.rand(1).item(), np.random.random()
    torch.manual_seed(0)
    np.random.seed(0)
    list(make().train_dataloader())
    assert (torch.rand(1).item(), np.random.random()) == expected


@pytest.mark.parametrize(
    ("argument", "value", "law"),
    [
        ("batch_size", 0, "data.batch_size must be at least 1, got 0"),
        ("eval_batch_size", -1, "data.eval_batch_size must be at least 1, got -1"),
        ("val_fraction", 1.0, "data.val_fraction must lie between 0 and 1, both excluded, got 1.0"),
        ("test_fraction", -0.1, r"data.test_fraction must be at least 0 \(no test\) and below 1, got -0.1"),
        ("split_seed", -1, "data.split_seed must be at least 0, got -1"),
        ("seed", -1, "data.seed must be at least 0, got -1"),
        ("min_count", 0, "data.min_count must be at least 1, got 0"),
        ("max_length", 0, "data.max_length must be at least 1 token, got 0"),
        ("tokens", "bytes", "data.tokens must be .*, got bytes"),
    ],
)
def test_laws_of_the_arguments(make: BuildSentences, argument: str, value: float, law: str) -> None:
    with pytest.raises(Exception, match=law) as caught:
        make(**{argument: value})
    assert isinstance(caught.value.__cause__ or caught.value, ValueError)


def attach_sentences(module: SentenceDataModule, rank: int, ranks: int) -> SentenceDataModule:
    attach(module, rank, ranks)  # type: ignore[arg-type]
    return module
