"""Gradient flow in TensorBoard: what is shown, when, and without a trace in the training."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from project.callbacks.checkpoint_files import load_checkpoint
from project.callbacks.gradient_flow import language_model_norms
from project.errors import Stopped, UserError
from project.nets.cells import LSTM
from project.nets.language_model import LanguageModel
from project.runs.resuming import resumed_config
from project.train import train
from tests.runs.conftest import tiny
from tests.runs.text import tiny_text

FLOW = (
    "callbacks=gradient_flow",
    "callbacks.gradient_flow.every_n_validations=1",
    "callbacks.samples.length=5",
    "callbacks.passage=null",
)


def test_a_language_model_s_loss_is_at_the_last_target() -> None:
    torch.manual_seed(0)
    net = LanguageModel(5, LSTM, 6, 2).eval()
    ids, targets = torch.randint(5, (4, 3)), torch.randint(5, (4, 3))
    targets[3] = -100
    with torch.inference_mode():  # as in Lightning's validation
        norms = language_model_norms(net, ids, targets)
    assert norms.shape == (2, 3)
    embedded = net.embedding(ids[:3])
    outputs, hidden = net.recurrent.unrolled(embedded)
    F.cross_entropy(net.head(outputs[2]), targets[2], reduction="sum").backward(inputs=[hidden[1][2], hidden[0][0]])
    for layer, t, distance in ((1, 2, 0), (0, 0, 2)):
        assert norms[layer, distance] == pytest.approx(hidden[layer][t].grad.norm(dim=1).mean().item(), rel=1e-5)  # type: ignore[union-attr]


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0}).Reload()


def test_tensorboard_shows_it_at_each_validation(tmp_path: Path) -> None:
    train(tiny_text(tmp_path, *FLOW, "callbacks.gradient_flow.steps=6"))
    found = events(tmp_path / "run")
    assert [image.step for image in found.Images("gradient_flow")] == [544, 1088]
    tags = {tag for tag in found.Tags()["scalars"] if tag.startswith("gradient_flow/")}
    matrices = {f"gradient_flow/singular_value/layer{i}/W_h{gate}" for i in range(2) for gate in "ifog"}
    assert tags == matrices | {f"gradient_flow/far_over_near/layer{i}" for i in range(2)}
    values = found.Scalars("gradient_flow/singular_value/layer0/W_hf")
    assert [value.step for value in values] == [0, 544, 1088]
    assert values[0].value == pytest.approx(1, rel=1e-5)
    assert values[2].value != values[1].value


@pytest.mark.slow
def test_a_run_is_the_same_with_and_without(tmp_path: Path) -> None:
    for name, words in (("without", ("callbacks.gradient_flow=null",)), ("with", FLOW)):
        train(tiny_text(tmp_path / name, *words, "trainer.val_check_interval=7", "trainer.max_epochs=1"))
    without, with_ = (
        load_checkpoint(tmp_path / name / "run" / "checkpoints" / "last.ckpt")["state_dict"]
        for name in ("without", "with")
    )
    assert all(torch.equal(value, with_[key]) for key, value in without.items())


@pytest.mark.slow
def test_every_second_validation_also_after_a_stop(tmp_path: Path) -> None:
    words = (
        *FLOW,
        "callbacks.gradient_flow.every_n_validations=2",
        "trainer.val_check_interval=5",
    )  # 5, 10, 15, 22, ...
    at = "+callbacks.at={_target_:tests.runs.parts.SignalAt,step:17,signal:15}"
    with pytest.raises(Stopped):
        train(tiny_text(tmp_path, *words, at))
    train(resumed_config(str(tmp_path / "run"), ["~callbacks.at"], "outputs"))
    found = events(tmp_path / "run")
    assert [image.step // 32 for image in found.Images("gradient_flow")] == [10, 22, 32]
    assert [value.step // 32 for value in found.Scalars("gradient_flow/far_over_near/layer1")] == [10, 22, 32]


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"language models .*and this is a ImageClassifier of a Small: leave it out"):
        train(tiny(f"folder={tmp_path / 'images'}", "callbacks=gradient_flow"))
    with pytest.raises(UserError, match=r"callbacks.gradient_flow.steps must be at least 1, got 0"):
        train(tiny_text(tmp_path, *FLOW, "callbacks.gradient_flow.steps=0"))
