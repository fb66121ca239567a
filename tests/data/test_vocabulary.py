"""Tokens and ids by hand, there and back."""

import json
import random
import unicodedata
from collections.abc import Iterator

import pytest

from project.data.vocabulary import Vocabulary, describe, word_end, words


def test_characters_stand_by_code_point() -> None:
    vocabulary = Vocabulary.build("hello", "characters")
    assert vocabulary.tokens == ["<unk>", "e", "h", "l", "o"]
    assert len(vocabulary) == 5
    assert vocabulary.encode("hello").tolist() == [2, 1, 3, 3, 4]
    assert vocabulary.encode("hello").dtype == "int64"
    assert vocabulary.decode([2, 1, 3, 3, 4]) == "hello"
    assert vocabulary.encode("").tolist() == []


def test_what_the_vocabulary_lacks_is_id_0() -> None:
    vocabulary = Vocabulary.build("hello", "characters")
    assert vocabulary.encode("h\0€\U0010ffff!o").tolist() == [2, 0, 0, 0, 0, 4]
    assert vocabulary.unknown_in("why? oh, why!") == ["w", "y", "?", " ", ",", "!"]
    assert vocabulary.unknown_in("hole") == []
    assert vocabulary.decode([2, 0, 4]) == "h�o"


def test_words_stand_by_frequency() -> None:
    vocabulary = Vocabulary.build("b a b. c\na b.", "words", min_count=2)
    assert vocabulary.tokens == ["<unk>", "b", ".", "a"]
    assert vocabulary.encode("a  c\tb.\n").tolist() == [3, 0, 1, 2, 0]
    assert vocabulary.unknown_in("c a\nd c") == ["c", "\n", "d"]
    assert Vocabulary.build({"x": 1, "y": 3, "<unk>"[1:4]: 3}, "words").tokens == ["<unk>", "unk", "y", "x"]


def test_rare_characters_are_unknown() -> None:
    assert Vocabulary.build("aabbbc", "characters", min_count=2).tokens == ["<unk>", "a", "b"]


def test_bytes_are_all_known() -> None:
    vocabulary = Vocabulary.build("", "bytes")
    assert len(vocabulary) == 257
    assert vocabulary.tokens[:3] == ["<unk>", "0x00", "0x01"]
    assert vocabulary.encode("aé").tolist() == [98, 196, 170]
    assert vocabulary.encode(bytes(range(256))).tolist() == list(range(1, 257))
    assert vocabulary.unknown_in("é\0") == []
    assert vocabulary.decode([98, 196, 170]) == "aé"
    assert vocabulary.decode([196, 98, 0]) == "�a�"
    assert vocabulary.encode("\udcff").tolist() == [256]  # as the terminal hands on a byte that is no UTF-8


def test_tokens_with_a_meaning_of_their_own() -> None:
    specials = ("<pad>", "<bos>", "<eos>")
    vocabulary = Vocabulary.build("a <pad> a", "words", specials=specials)
    assert vocabulary.tokens == ["<unk>", "<pad>", "<bos>", "<eos>", "a", "<", ">", "pad"]
    assert vocabulary.ids["<eos>"] == 3
    assert vocabulary.encode("a<pad>").tolist() == [4, 5, 7, 6]
    assert Vocabulary.build("", "bytes", specials=specials).encode("\0").tolist() == [4]
    assert Vocabulary.build("ab", "characters", specials=specials).encode("<a").tolist() == [0, 4]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's a test, isn\u2019t it?", ["It's", "a", "test", ",", "isn\u2019t", "it", "?"]),
        ("one  two\tthree\r\n\nfour", ["one", "two", "three", "\n", "\n", "four"]),
        ("x_1 += 2.5;", ["x_1", "+", "=", "2", ".", "5", ";"]),
        ("'quoted' 'tis", ["'", "quoted", "'", "'", "tis"]),
        ("a\u00a0b\u2003c\x1cd\x85e", ["a", "b", "c", "d", "e"]),
        ("a\x1cb\x1fc\0", ["a", "b", "c", "\0"]),
        ("cafe\u0301 हिन्दी می‌خواهم", ["cafe\u0301", "हिन्दी", "می‌خواهم"]),
        ("漢字。🎉🎉", ["漢字", "。", "🎉", "🎉"]),
        ("", []),
        (" \t ", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected
    assert words(text + "\u2003") == expected  # by the pattern for all of Unicode


def test_words_of_ascii_text_are_those_of_any_text() -> None:
    rng = random.Random(0)
    for _ in range(300):
        text = "".join(chr(rng.choice([*range(128), *(39, 97, 32) * 20])) for _ in range(50))
        assert words(text) == words(text + "\u2003")


def test_the_end_of_a_word() -> None:
    assert [word_end("ab c'd\n", place) for place in range(8)] == [0, 2, 2, 3, 6, 6, 6, 7]


def test_words_are_written_with_ordinary_spaces() -> None:
    text = 'He said: "Go (now), don\'t wait!"\n"5% of $3."\nThen [he] went...\n'
    vocabulary = Vocabulary.build(text, "words")
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_pieces_come_as_the_ids_do() -> None:
    letters = Vocabulary.build("", "bytes")
    pieces = letters.pieces(iter(letters.encode("aé€")))
    assert list(pieces) == ["a", "", "é", "", "", "€", ""]
    asked: list[int] = []

    def ids() -> Iterator[int]:
        for number in (1, 2, 1):
            asked.append(number)
            yield number

    pieces = Vocabulary.build("b a b", "words").pieces(ids())
    assert (next(pieces), asked) == ("b", [1])
    assert list(pieces) == [" a", " b"]


@pytest.mark.parametrize("kind", ["characters", "bytes", "words"])
def test_json_keeps_it_exactly(kind: str) -> None:
    rng = random.Random(0)
    codes = [
        *range(0x0, 0x300),
        0x2028,
        0x2029,
        0xFEFF,
        0xFFFE,
        0xFFFF,
        0x10FFFF,
        *rng.sample(range(0x300, 0xD800), 500),
    ]
    text = "".join(map(chr, codes)) + "e\u0301 é <unk> <pad> \ufdd0"
    vocabulary = Vocabulary.build(text, kind)
    again = Vocabulary.from_facts(json.loads(json.dumps(vocabulary.facts())))
    assert again == vocabulary
    assert again.encode(text).tolist() == vocabulary.encode(text).tolist()
    assert not again.unknown_in(text)
    if kind != "words":
        assert again.decode(again.encode(text)) == text
    assert json.loads(json.dumps(vocabulary.facts(), ensure_ascii=False).encode()) == vocabulary.facts()


def test_tokens_for_people() -> None:
    assert describe("é") == "'é' (LATIN SMALL LETTER E WITH ACUTE)"
    assert describe("\n") == r"'\n' (U+000A)"
    assert describe("\U0010ffff") == r"'\U0010ffff' (U+10FFFF)"
    assert describe("whale") == "'whale'"
    assert unicodedata.name("─") in describe("─")


@pytest.mark.parametrize(
    ("tokens", "kind", "law"),
    [
        (["<unk>"], "letters", "kind must be one of characters, bytes, words, got letters"),
        (["a"], "words", r"first token must be '<unk>', got \['a'\]"),
        ([], "words", r"first token must be '<unk>', got \[\]"),
        (["<unk>", "a", "b", "a"], "words", r"tokens must differ, got \['a'\]"),
    ],
)
def test_laws(tokens: list[str], kind: str, law: str) -> None:
    with pytest.raises(ValueError, match=law):
        Vocabulary(tokens, kind)
