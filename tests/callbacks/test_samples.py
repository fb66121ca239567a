"""Samples in TensorBoard: shown as they are, and without a trace in the training."""

import re
from html import unescape
from pathlib import Path

import pytest
import torch
from tensorboard import plugin_util
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from project.callbacks.checkpoint_files import load_checkpoint
from project.callbacks.samples import added, read_prompt
from project.callbacks.verbatim import verbatim, visible
from project.data.vocabulary import Vocabulary
from project.errors import Stopped, UserError
from project.runs.resuming import resumed_config
from project.train import train
from tests.runs.conftest import tiny
from tests.runs.text import TEXT, tiny_text

SHORT = ("callbacks=samples", "callbacks.samples.length=20", "callbacks.samples.every_n_validations=1")


def shown(folder: Path) -> list[tuple[int, str, str]]:
    """Of each sample: the step, the title, and the text as TensorBoard shows it."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    found = []
    for event in events.Tensors("sample/text_summary"):
        page = plugin_util.markdown_to_safe_html(event.tensor_proto.string_val[0].decode())
        match = re.fullmatch(r"<p>(.*)</p>\n<pre><code>(.*)</code></pre>", page, re.DOTALL)
        assert match is not None, page
        found.append((event.step, match[1], unescape(match[2]).rstrip("\n")))
    return found


def test_at_first_then_train_more(tmp_path: Path) -> None:
    cfg = tiny_text(tmp_path, *SHORT, "callbacks.samples.prompt=9 b", "callbacks.samples.temperature=0")
    train(cfg)
    steps, titles, texts = zip(*shown(tmp_path / "run"), strict=True)
    assert steps == (0, 544, 1088)
    assert titles[0] == "at first"
    for title, step in zip(titles[1:], ("544", "1,088"), strict=True):
        assert re.fullmatch(rf"train more: {step} characters, val/loss \d\.\d{{4}}", title)
    assert all(text.startswith("9 b") and len(text) <= 23 for text in texts)
    assert len(set(texts)) > 1


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_run_is_the_same_with_and_without(tmp_path: Path, precision: str) -> None:
    states = []
    for name, words in (("without", ("callbacks.samples=null",)), ("with", SHORT)):
        cfg = tiny_text(tmp_path / name, *words, "trainer.val_check_interval=7", f"trainer.precision={precision}")
        train(cfg)
        states.append(load_checkpoint(tmp_path / name / "run" / "checkpoints" / "last.ckpt"))
    without, with_ = states
    assert len(shown(tmp_path / "with" / "run")) == 5
    for key, value in without["state_dict"].items():
        assert torch.equal(value, with_["state_dict"][key]), key
    carried = [[part for state in checkpoint["carried"] for part in state] for checkpoint in states]
    assert all(torch.equal(*pair) for pair in zip(*carried, strict=True))


@pytest.mark.slow
def test_a_resumed_run_has_no_second_beginning(tmp_path: Path) -> None:
    train(tiny_text(tmp_path / "whole", *SHORT))
    at = "+callbacks.at={_target_:tests.runs.parts.SignalAt,step:20,signal:15}"
    with pytest.raises(Stopped):
        train(tiny_text(tmp_path / "parts", *SHORT, at))
    train(resumed_config(str(tmp_path / "parts" / "run"), ["~callbacks.at"], "outputs"))
    assert shown(tmp_path / "parts" / "run") == shown(tmp_path / "whole" / "run")


def test_hostile_text_is_shown_as_it_is() -> None:
    lines = [
        "<script>alert(1)</script>",
        "</code></pre>",
        "```",
        "~~~",
        "# title",
        "[a]: http://b",
        "&amp; <!--",
        "* | a | b",
    ]
    text = "\n\n".join(lines) + "\r\x1b[31m \u202e\x02\ud800"
    page = plugin_util.markdown_to_safe_html(f"at first\n\n{verbatim(text)}")
    match = re.fullmatch(r"<p>at first</p>\n<pre><code>(.*)\n</code></pre>", page, re.DOTALL)
    assert match is not None, page
    assert unescape(match[1]) == "\n\n".join(lines) + r"\r\x1b[31m \u202e\x02\ud800"
    assert "<" not in match[1]


def test_control_characters_are_written_out() -> None:
    assert visible("a\tb\n\x1b[2J\x07 é\u200dü\u2028") == "a\tb\n\\x1b[2J\\x07 é\u200dü\\u2028"


def test_where_a_text_begins() -> None:
    vocabulary = Vocabulary.build("b\na", "characters")  # 1 newline, 2 a, 3 b
    assert read_prompt(vocabulary, "ab") == [2, 3]
    assert read_prompt(vocabulary, "") == [1]
    assert read_prompt(Vocabulary.build("ba", "characters"), "") == [1]
    assert read_prompt(Vocabulary.build("sea the sea", "words"), " ") == [1]
    assert read_prompt(Vocabulary.build("", "bytes"), "") == [11]


def test_what_the_model_never_saw_is_named() -> None:
    vocabulary = Vocabulary.build("Cafe", "characters")
    with pytest.raises(
        UserError, match=r"'é' \(LATIN SMALL LETTER E WITH ACUTE\) at character 4, '\\x07' .*at character 5"
    ) as error:
        read_prompt(vocabulary, "Café\x07é")
    assert str(error.value).endswith("characters of the training text, e.g. Caef")
    with pytest.raises(UserError, match="never saw: 'whale', '!'"):
        read_prompt(Vocabulary.build("the sea", "words"), "the whale!")
    with pytest.raises(UserError, match="nothing to write with"):
        read_prompt(Vocabulary(["<unk>"], "words"), "")
    many = "".join(map(chr, range(0x100, 0x120)))
    with pytest.raises(UserError, match="and 22 more"):
        read_prompt(vocabulary, many)


def test_words_and_bytes_go_on_from_their_prompt() -> None:
    words = Vocabulary.build('the sea , "', "words")
    for prompt, text in (("the", " sea, the"), ("the ", "sea, the")):
        assert "".join(added(words, prompt, read_prompt(words, prompt), words.encode("sea , the"))) == text
    of_bytes = Vocabulary.build("", "bytes")
    first, second = of_bytes.encode("é")
    assert list(added(of_bytes, "a", read_prompt(of_bytes, "a"), [first, second])) == ["", "é", ""]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["callbacks.samples.prompt='Ä'"], r"'Ä' \(LATIN CAPITAL LETTER A WITH DIAERESIS\) at character 1"),
        (["callbacks.samples.length=0"], "callbacks.samples.length must be at least 1, got 0"),
        (["callbacks.samples.top_p=2"], "top_p must be above 0 and at most 1"),
    ],
)
def test_mistakes_are_told_before_the_training(tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        train(tiny_text(tmp_path, *SHORT, *words))
    assert not (tmp_path / "run").exists()


def test_only_language_models_write(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"this is a ImageClassifier: leave it out with callbacks\.samples=null"):
        train(tiny(f"folder={tmp_path / 'run'}", "callbacks=samples"))


def test_the_text_of_these_tests_has_more_than_one_batch() -> None:
    assert 544 < 0.9 * len(TEXT) < 576 + 4
