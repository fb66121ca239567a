"""Streams of text against tokens listed by hand, and against Lightning's own loops."""

from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from project.data.loader import Batch
from project.data.streams import IGNORED, HeldOutStreams, TextStreams, check_streams
from project.data.text import Text
from project.errors import UserError

HELLO = np.array([1, 0, 2, 2, 3], dtype=np.uint8)  # h, e, l, l, o


def listed(batches: list[Batch]) -> list[tuple[list[list[int]], list[list[int]]]]:
    """Inputs and targets of each batch, stream by stream."""
    return [(inputs.T.tolist(), targets.T.tolist()) for inputs, targets in batches]


def epochs(loader: TextStreams, count: int) -> list[Batch]:
    batches = []
    for epoch in range(count):
        loader.set_epoch(epoch)
        batches += list(loader)
    return batches


def same(batches: list[Batch], others: list[Batch]) -> bool:
    return listed(batches) == listed(others)


def test_hello_goes_round_for_ever() -> None:
    loader = TextStreams(HELLO, batch_size=1, truncate=4)
    assert len(loader) == 1
    assert listed(epochs(loader, 3)) == [
        ([[1, 0, 2, 2]], [[0, 2, 2, 3]]),  # h e l l -> e l l o
        ([[3, 1, 0, 2]], [[1, 0, 2, 2]]),  # o h e l -> h e l l
        ([[2, 3, 1, 0]], [[3, 1, 0, 2]]),  # l o h e -> o h e l
    ]


def test_streams_stand_side_by_side_and_run_on_into_each_other() -> None:
    loader = TextStreams(np.arange(11), batch_size=2, truncate=2)  # streams from 0 and from 5 on
    assert len(loader) == 2
    assert listed(epochs(loader, 3)) == [
        ([[0, 1], [5, 6]], [[1, 2], [6, 7]]),
        ([[2, 3], [7, 8]], [[3, 4], [8, 9]]),
        ([[4, 5], [9, 10]], [[5, 6], [10, 0]]),
        ([[6, 7], [0, 1]], [[7, 8], [1, 2]]),
        ([[8, 9], [2, 3]], [[9, 10], [3, 4]]),
        ([[10, 0], [4, 5]], [[0, 1], [5, 6]]),
    ]


@pytest.mark.parametrize(("tokens", "streams", "truncate"), [(101, 4, 7), (1000, 10, 9), (64, 3, 21), (50, 7, 1)])
def test_every_stream_walks_through_the_whole_text_without_a_gap(tokens: int, streams: int, truncate: int) -> None:
    text = np.random.default_rng(0).integers(0, 1000, tokens).astype(np.uint16)
    loader = TextStreams(text, streams, truncate)
    count = -(-2 * tokens // (len(loader) * truncate)) + 1
    batches = epochs(loader, count)
    inputs, targets = (torch.cat([batch[part] for batch in batches]) for part in (0, 1))
    for stream in range(streams):
        start = stream * (tokens // streams)
        walked = [text[(start + step) % tokens] for step in range(len(inputs) + 1)]
        assert inputs[:, stream].tolist() == walked[:-1]
        assert targets[:, stream].tolist() == walked[1:]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int64])
def test_batches_are_int64_whatever_the_file_holds(tmp_path: Path, dtype: Any) -> None:
    path = tmp_path / "ids.bin"
    path.write_bytes(np.arange(200, dtype=dtype).tobytes())
    [first, *_] = TextStreams(np.memmap(path, dtype, "r"), 4, 5)
    for part, shift in zip(first, (0, 1), strict=True):
        assert part.dtype == torch.int64
        assert part.shape == (5, 4)
        assert part.T.tolist() == [[50 * stream + step + shift for step in range(5)] for stream in range(4)]


@pytest.mark.parametrize("ranks", [2, 3, 6])
def test_ranks_share_the_streams(ranks: int) -> None:
    text = np.arange(500)
    alone = epochs(TextStreams(text, 6, 8), 2)
    shares = [epochs(TextStreams(text, 6, 8, rank=rank, world_size=ranks), 2) for rank in range(ranks)]
    joined = [
        (torch.cat([x for x, _ in parts], 1), torch.cat([y for _, y in parts], 1))
        for parts in zip(*shares, strict=True)
    ]
    assert same(joined, alone)


def test_an_interrupted_epoch_goes_on_exactly() -> None:
    text = np.arange(1000)
    whole = epochs(TextStreams(text, 5, 9), 4)
    length = len(TextStreams(text, 5, 9))
    for done in (1, length - 1, 2 * length + 3, 3 * length):
        loader = TextStreams(text, 5, 9)
        batches = iter(loader)  # Lightning calls `iter` before it says the epoch
        loader.load_state_dict({"epoch": done // length, "position": done % length, "batches": length})
        loader.set_epoch(done // length)
        rest = list(batches)
        for epoch in range(done // length + 1, 4):
            loader.set_epoch(epoch)
            rest += list(loader)
        assert same(rest, whole[done:])


def test_position_counts_the_batches_handed_out() -> None:
    loader = TextStreams(np.arange(100), 2, 10)
    batches = iter(loader)
    next(batches)
    next(batches)
    assert loader.state_dict() == {"epoch": 0, "position": 2, "batches": 5}
    with pytest.raises(UserError, match=r"in mid-epoch, at batch 2 of 5, and now an epoch has 2"):
        TextStreams(np.arange(100), 4, 10).load_state_dict(loader.state_dict())


def test_shuffle_off_repeats_the_first_epoch() -> None:
    loader = TextStreams(np.arange(57), 2, 10, shuffle=False)
    batches = epochs(loader, 2)
    assert same(batches[:2], batches[2:])


def test_epochs_cut_short_leave_no_gap() -> None:
    whole = epochs(TextStreams(np.arange(100), 2, 5), 1)
    loader = TextStreams(np.arange(100), 2, 5, played=3)
    batches = []
    for epoch in range(3):
        loader.set_epoch(epoch)
        batches += [batch for batch, _ in zip(loader, range(3), strict=False)]
    assert same(batches, whole[:9])


def test_too_few_tokens() -> None:
    check_streams(51, 10, 5, 1, "characters")
    with pytest.raises(UserError) as caught:
        TextStreams(np.arange(50), 10, 5, unit="characters")
    assert str(caught.value) == (
        "The training part has 50 characters: data.batch_size=10 streams of data.truncate=5 steps take at least 51.\n"
        "Choose data.batch_size=9 or less, data.truncate=4 or less, or more text."
    )
    check_streams(50, 9, 5, 1, "characters")
    check_streams(50, 10, 4, 1, "characters")


@pytest.mark.parametrize(
    ("tokens", "ranks", "remedy"),
    [
        (40, 1, "Choose data.truncate=3 or less, or more text."),
        (8, 1, "Choose data.batch_size=1 with data.truncate=7, or more text."),
        (8, 2, "Choose data.batch_size=2 with data.truncate=3, or more text."),
        (2, 2, "Add text."),
        (1, 1, "Add text."),
    ],
)
def test_settings_that_fit_are_named(tokens: int, ranks: int, remedy: str) -> None:
    with pytest.raises(UserError) as caught:
        check_streams(tokens, 10, 64, ranks, "words")
    assert str(caught.value).splitlines()[1] == remedy


def test_streams_that_the_ranks_cannot_share() -> None:
    with pytest.raises(UserError, match=r"data.batch_size=10 cannot be shared evenly by 4 processes.\n.*=12"):
        TextStreams(np.arange(1000), 10, 5, world_size=4)


def test_a_held_out_text_by_hand() -> None:
    loader = HeldOutStreams(np.arange(10, 21), batch_size=2, length=3)  # 10 predictions in 2 streams of 5
    assert listed(list(loader)) == [
        ([[10, 11, 12], [15, 16, 17]], [[11, 12, 13], [16, 17, 18]]),
        ([[13, 14], [18, 19]], [[14, 15], [19, 20]]),
    ]
    loader = HeldOutStreams(np.arange(10, 20), batch_size=2, length=2)  # 9 predictions: 4 and 5
    assert listed(list(loader)) == [
        ([[10, 11], [14, 15]], [[11, 12], [15, 16]]),
        ([[12, 13, 0], [16, 17, 18]], [[13, 14, IGNORED], [17, 18, 19]]),
    ]
    assert listed(list(HeldOutStreams(HELLO, batch_size=20, length=256))) == [([[1, 0, 2, 2]], [[0, 2, 2, 3]])]
    assert listed(list(HeldOutStreams(HELLO[:2], batch_size=20, length=256))) == [([[1]], [[0]])]


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("tokens", [4, 5, 17, 33, 99, 100, 101, 257])
@pytest.mark.parametrize(("streams", "length"), [(1, 1), (4, 8), (5, 16), (20, 7)])
def test_every_prediction_is_made_once(tokens: int, ranks: int, streams: int, length: int) -> None:
    text = np.arange(tokens, dtype=np.uint16) + 7
    shares = [list(HeldOutStreams(text, streams, length, rank=rank, world_size=ranks)) for rank in range(ranks)]
    made = []
    for together in zip(*shares, strict=True):  # all ranks take part in every batch
        assert len({len(targets) for _, targets in together}) == 1
        assert all((targets != IGNORED).any() for _, targets in together)
    for batches in shares:
        inputs, targets = (torch.cat([batch[part] for batch in batches]) for part in (0, 1))
        assert inputs.shape == targets.shape
        assert inputs.dtype == targets.dtype == torch.int64
        for given, asked in zip(inputs.T.tolist(), targets.T.tolist(), strict=True):
            steps = sum(target != IGNORED for target in asked)
            assert asked[:steps] == list(range(given[0] + 1, given[0] + 1 + steps))
            assert given[:steps] == [target - 1 for target in asked[:steps]]  # contiguous from batch to batch
            assert given[steps:] == [0] * (len(given) - steps)
            assert asked[steps:] == [IGNORED] * (len(given) - steps)
            made += asked[:steps]
    assert sorted(made) == text[1:].tolist()


def test_more_ranks_than_predictions() -> None:
    with pytest.raises(UserError, match="2 tokens has too few predictions for 3 processes: evaluate with fewer"):
        HeldOutStreams(np.arange(2), 20, 256, world_size=3)


class _Recorder(lightning.LightningModule):
    """Learns nothing, remembers the first stream of every batch, and writes a checkpoint after `save_at` steps."""

    def __init__(self, save_at: int, path: Path) -> None:
        super().__init__()
        self.layer, self.save_at, self.path = nn.Linear(1, 1), save_at, path
        self.seen: list[list[int]] = []

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        self.seen.append(batch[0][:, 0].tolist())
        return self.layer(batch[0].float().mean().view(1)).sum()

    def on_train_batch_end(self, *_: Any) -> None:
        if self.global_step == self.save_at:
            self.trainer.save_checkpoint(self.path)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.mark.parametrize("limit", [1.0, 3, 0.5])
@pytest.mark.parametrize("step", [2, 3, 7])
def test_lightning_walks_on_over_epochs_and_resumes(tmp_path: Path, step: int, limit: float) -> None:
    (tmp_path / "text").write_text("".join(chr(48 + i % 70) for i in range(170)))

    def fit(checkpoint: Path | None) -> list[list[int]]:
        quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        module = _Recorder(step, tmp_path / "step.ckpt")
        data = Text(str(tmp_path / "text"), batch_size=2, truncate=10, cache_folder=str(tmp_path / "cache"))
        trainer = lightning.Trainer(max_epochs=3, accelerator="cpu", limit_train_batches=limit, **quiet)  # type: ignore[arg-type]
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
        return module.seen

    whole = fit(None)
    assert len(whole) == {1.0: 21, 3: 9, 0.5: 9}[limit]  # 153 characters: 7 batches of 2 x 10
    walked = [token for tokens in whole for token in tokens]
    assert walked == [1 + i % 153 % 70 for i in range(len(walked))]
    assert fit(tmp_path / "step.ckpt") == whole[step:]
