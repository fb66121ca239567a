"""The tokens of a language that is translated."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from project.data.subwords import BEGIN, END, PAD, UNKNOWN, Plain, Subwords, learn_tokenizer, tokenizer_from
from project.errors import UserError

TEXTS = ["low lower lowest", "new newer newest", "low, new!", "wide wider widest", "Ein großer Löwe."]
HOSTILE = [
    "<s> </s> <pad> <unk>",
    "\u2581 \u2581low",
    "(low) 'new' low.new",
    "中文 low \U0001d518",
    "\x00\x1b[2J",
    "low\u200d",
    "\ud7ff",
]


def test_words() -> None:
    words = learn_tokenizer(["A b, b!", "b a"], "words", vocab_size=1, min_count=1, lowercase=False)
    assert words.tokens == ["<unk>", "<pad>", "<s>", "</s>", "b", "!", ",", "A", "a"]
    assert len(words) == 9
    assert words.encode(" a,  b? ") == [8, 6, 4, 0]
    assert words.encode_all(["a", "B"]) == [[8], [0]]
    assert words.decode([BEGIN, 7, 6, 4, 5, END, PAD]) == "A, b!"
    assert learn_tokenizer(["A b, b!", "b a"], "words", 1, min_count=2, lowercase=True).tokens[4:] == ["b", "a"]


def test_characters() -> None:
    characters = learn_tokenizer(["ab ba"], "characters", vocab_size=1, min_count=1, lowercase=False)
    assert characters.tokens[4:] == [" ", "a", "b"]
    assert characters.encode("b  ac") == [6, 4, 5, 0]
    assert characters.decode([2, 6, 4, 5, 3]) == "b a"


def test_subwords_of_one_word() -> None:
    """The most frequent pair is joined, again and again, until no pair is there twice."""
    learned = Subwords.learn(["ab ab ab abc"], vocab_size=50, lowercase=False)
    assert learned.tokens == ["<unk>", "<pad>", "<s>", "</s>", "a", "b", "c", "▁", "ab", "▁ab"]
    assert learned.merges == [("a", "b"), ("▁", "ab")]
    assert learned.encode("abc cab") == [9, 6, 7, 6, 8]
    assert learned.decode([9, 6, 7, 6, 8]) == "abc cab"


def test_subwords_give_the_text_back() -> None:
    learned = Subwords.learn(TEXTS * 3, vocab_size=60, lowercase=False)
    assert 40 < len(learned) <= 60
    for text in TEXTS:
        ids = learned.encode(text)
        assert learned.decode([BEGIN, *ids, END, PAD, PAD]) == text
        assert len(ids) < len(text)
        assert min(ids) > END
    assert learned.encode_all(TEXTS) == [learned.encode(text) for text in TEXTS]
    assert learned.decode(learned.encode("  low\n\nnew\t")) == "low new"


def test_punctuation_stands_by_itself() -> None:
    learned = Subwords.learn(["no. no. no. no, no, no,"] * 5, vocab_size=50, lowercase=False)
    assert [learned.tokens[number] for number in learned.encode("no.,no")] == ["▁no", ".", ",", "no"]


def test_lowercase() -> None:
    learned = Subwords.learn(["ÄB äb"] * 3, vocab_size=50, lowercase=True)
    assert learned.decode(learned.encode("äB")) == "äb"
    assert tokenizer_from(learned.facts()).encode("Äb") == learned.encode("äb")


@pytest.mark.parametrize("kind", ["words", "characters", "subwords"])
def test_no_text_is_taken_for_a_special_token(kind: str) -> None:
    for learned in (learn_tokenizer(texts, kind, 200, 1, False) for texts in (TEXTS, TEXTS + HOSTILE)):
        for text, ids in zip(HOSTILE, learned.encode_all(HOSTILE), strict=True):
            assert not {PAD, BEGIN, END} & set(ids)
            assert ids == learned.encode(text)
            assert isinstance(learned.decode(ids), str)
            assert len(ids) >= 1


@pytest.mark.parametrize("kind", ["words", "characters", "subwords"])
def test_a_tokenizer_survives_json(kind: str) -> None:
    learned = learn_tokenizer(TEXTS, kind, 60, 1, True)
    again = tokenizer_from(json.loads(json.dumps(learned.facts())))
    assert again.tokens == learned.tokens
    assert again.facts() == learned.facts()
    for text in [*TEXTS, *HOSTILE]:
        assert again.encode(text) == learned.encode(text)
        assert again.decode(learned.encode(text)) == learned.decode(learned.encode(text))


def test_unknown_characters_are_one_token() -> None:
    learned = Subwords.learn(TEXTS, vocab_size=60, lowercase=False)
    ids = learned.encode("low 中文 low")
    assert ids.count(UNKNOWN) == 1
    assert learned.decode(ids) == "low <unk> low"
    words = Plain.learn(TEXTS, "words", 1, False)
    assert words.decode(words.encode("low 中文 low")) == "low <unk> low"


def test_the_same_texts_give_the_same_subwords_in_every_process(tmp_path: Path) -> None:
    code = f"""
from project.data.subwords import Subwords
print(Subwords.learn({TEXTS!r}, 60, False).facts())
"""
    root = str(Path(__file__).parents[2])
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={"PYTHONPATH": root, "PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": seed, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert said == {f"{Subwords.learn(TEXTS, 60, False).facts()}\n"}


def test_fewer_tokens_than_characters_are_refused() -> None:
    with pytest.raises(UserError, match=r"data.vocab_size=6 is too small .*: choose 8 at least"):
        Subwords.learn(["ab c"], vocab_size=6, lowercase=False)
    assert len(Subwords.learn(["ab c"], vocab_size=8, lowercase=False)) == 8
