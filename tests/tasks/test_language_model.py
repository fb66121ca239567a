"""Losses, units and carried states of language models, and the four-letter example."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from omegaconf import DictConfig

from project.nets.cells import LSTM
from project.nets.language_model import LanguageModel
from project.runs.trained import load_run
from project.tasks.language_model import LanguageModelling
from project.train import train

Compose = Callable[..., DictConfig]


def task(token: str = "character") -> LanguageModelling:
    torch.manual_seed(0)
    return LanguageModelling(LanguageModel(5, LSTM, hidden_size=4, num_layers=2, dropout=0.0), token=token)


def test_the_loss_is_that_of_the_next_token_in_nats() -> None:
    model, ids = task(), torch.tensor([[1, 2], [3, 4], [0, 1], [2, 2]])
    loss, (total,), count = model.measure((ids[:-1], ids[1:]), "train")
    logits, _ = model.net(ids[:-1])
    by_hand = -logits.log_softmax(2).gather(2, ids[1:, :, None]).mean()
    torch.testing.assert_close(loss, by_hand)
    torch.testing.assert_close(total, by_hand * 6)
    assert count == 6


def test_the_state_is_carried_from_batch_to_batch_and_the_gradient_is_not() -> None:
    model, ids = task().eval(), torch.randint(0, 5, (9, 3), generator=torch.Generator().manual_seed(0))
    first, _, _ = model.measure((ids[:4], ids[1:5]), "train")
    second, _, _ = model.measure((ids[4:8], ids[5:9]), "train")
    whole = F.cross_entropy(model.net(ids[:8])[0].flatten(0, 1), ids[1:].flatten())
    torch.testing.assert_close((first + second) / 2, whole)
    assert all(not part.requires_grad for state in model.carried["train"] for part in state)
    model.measure((ids[:4], ids[1:5]), "val")
    assert model.carried["val"] is not model.carried["train"]
    model.begin("val")
    assert set(model.carried) == {"train"}, "validation begins anew, training goes on"


def test_what_stands_behind_the_end_of_a_part_is_not_counted() -> None:
    model, ids = task().eval(), torch.tensor([[1, 2], [3, 4], [1, 1]])
    targets = torch.tensor([[3, 4], [1, -100], [-100, -100]])
    loss, (total,), count = model.measure((ids, targets), "val")
    model.begin("val")
    assert count == 3
    torch.testing.assert_close(loss * 3, total)
    model.measure((ids, torch.full((3, 2), -100)), "val")  # a share of the last batch may hold nothing


@pytest.mark.parametrize("token", ["character", "byte", "word"])
def test_bits_and_perplexity_follow_from_the_mean(token: str) -> None:
    means = task(token).derived("val", {"loss": math.log(8)})
    assert means == pytest.approx({"loss": math.log(8), f"bits_per_{token}": 3.0, "perplexity": 8.0})
    assert task().derived("val", {}) == {}
    assert f"val/bits_per_{token}" in task(token).logged
    assert math.isfinite(task().derived("val", {"loss": 1e9})["perplexity"])


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "mut1", "mut2", "mut3"])
def test_hello(composed: Compose, tmp_path: Path, cell: str) -> None:
    """Karpathy's example: of the letters h, e, l, o, the one after the first l is an l, and after the second an o."""
    text = tmp_path / "hello.txt"
    text.write_text("hello" * 40)
    words = [
        f"model={cell}",
        f"data.path={text}",
        f"data.cache_folder={tmp_path}",
        "data.batch_size=4",
        "data.truncate=5",
        "data.eval_batch_size=1",
        "model.net.hidden_size=16",
        "model.net.num_layers=1",
        "optimizer.lr=0.02",
        "scheduler=none",
        "trainer.max_epochs=12",
        "trainer.accelerator=cpu",
        f"folder={tmp_path / 'run'}",
    ]
    loss = train(composed(*words))
    assert loss < 0.3
    trained = load_run(str(tmp_path / "run"), str(tmp_path))
    assert trained.data["sizes"] == {"vocab_size": 5, "token": "character"}  # and the unknown one
    letters = trained.data["vocabulary"]["tokens"]
    assert sorted(letters[1:]) == ["e", "h", "l", "o"]
    said, states = [letters.index("h")], None
    with torch.inference_mode():
        for _ in "ello":
            logits, states = trained.task.net(torch.tensor([[said[-1]]]), states)
            said.append(int(logits[0, 0].argmax()))
    assert "".join(letters[i] for i in said) == "hello"


def test_tied_weights_are_one_matrix() -> None:
    net = LanguageModel(5, LSTM, hidden_size=4, tie_weights=True)
    assert net.head.weight is net.embedding.weight
    with pytest.raises(ValueError, match="leave embedding_size at null"):
        LanguageModel(5, LSTM, hidden_size=4, embedding_size=3, tie_weights=True)


def test_another_number_of_streams_begins_at_zero(caplog: pytest.LogCaptureFixture) -> None:
    model, ids = task(), torch.randint(0, 5, (5, 3), generator=torch.Generator().manual_seed(0))
    model.measure((ids[:4], ids[1:]), "train")
    with caplog.at_level("INFO"):
        loss, _, _ = model.measure((ids[:4, :2], ids[1:, :2]), "train")
    torch.testing.assert_close(loss, F.cross_entropy(model.net(ids[:4, :2])[0].flatten(0, 1), ids[1:, :2].flatten()))
    assert "2 streams instead of 3" in caplog.text
