"""Tokens by id: the characters, bytes or words that networks of text read and write."""

import codecs
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

KINDS = ("characters", "bytes", "words")
UNKNOWN = "<unk>"
_BYTES = [f"0x{value:02x}" for value in range(256)]
_OPENING = set("([{«¿¡$£€#@\u201c\u2018")  # no space after: with the opening quotation marks
_CLOSING = set(")]}».,;:!?%…\u201d\u2019")  # no space before: with the closing ones


@cache
def _word(ascii_only: bool) -> re.Pattern[str]:
    """A word with its apostrophes and combining marks (which `\\w` leaves out), a line break, or one other sign.

    In text that is ASCII alone the same is found five times as fast by the other pattern.
    """
    if ascii_only:
        return re.compile(r"\w+(?:'\w+)*|\n|[^\w\s\x1c-\x1f]", re.ASCII)
    marks = [chr(code) for code in range(0x300, 0x20000) if unicodedata.category(chr(code))[0] == "M"]
    inner = rf"[\w\u200c\u200d{''.join(marks)}]"  # and the joiners that stand inside Persian and Indian words
    return re.compile(rf"\w{inner}*(?:['\u2019]\w{inner}*)*|\n|[^\w\s]")


def words(text: str) -> list[str]:
    """A text's words, its punctuation marks and line breaks each by itself; other white space is left out.

    A word never has white space in it, so that a text may be cut after any and split in parts.
    """
    return _word(text.isascii()).findall(text)


def word_end(text: str, place: int) -> int:
    """`place`, or where it stands inside a word, the end of that word."""
    for match in _word(text.isascii()).finditer(text):
        if match.end() > place:
            return match.end() if match.start() < place else place
    return place


def describe(token: str) -> str:
    """A token for people: `'é' (LATIN SMALL LETTER E WITH ACUTE)`, `'whale'`."""
    if len(token) != 1:
        return repr(token)
    return f"{token!r} ({unicodedata.name(token, '') or f'U+{ord(token):04X}'})"


class Vocabulary:
    """Tokens by id, of one kind: "characters", "bytes" or "words".

    Id 0 is that of all tokens that the vocabulary lacks; tokens with a meaning of their own, such as "<pad>", may
    follow. No text contains them: they have more than one character, and `words` takes them apart. A byte's token is
    its hexadecimal number, such as "0x0a".

    Args:
        tokens: the token of each id, "<unk>" first.
        kind: what the tokens are.

    Raises:
        ValueError: no such kind, another first token, or one token twice.
    """

    UNKNOWN = 0

    def __init__(self, tokens: Sequence[str], kind: str) -> None:
        if kind not in KINDS:
            raise ValueError(f"a vocabulary's kind must be one of {', '.join(KINDS)}, got {kind}")
        if list(tokens[:1]) != [UNKNOWN]:
            raise ValueError(f"a vocabulary's first token must be {UNKNOWN!r}, got {list(tokens[:1])}")
        self.tokens, self.kind = list(tokens), kind
        self.ids = {token: number for number, token in enumerate(self.tokens)}
        if len(self.ids) < len(self.tokens):
            twice = [token for token, count in Counter(self.tokens).items() if count > 1]
            raise ValueError(f"a vocabulary's tokens must differ, got {twice[:10]} more than once")
        self._table = self._by_code()

    @classmethod
    def build(
        cls, text_or_counts: str | Mapping[str, int], kind: str, min_count: int = 1, specials: Sequence[str] = ()
    ) -> "Vocabulary":
        """The tokens that a text has at least `min_count` times.

        Characters stand by code point, words by falling frequency and then by code points; bytes are always all 256.

        Args:
            text_or_counts: the text, or how often each of its tokens occurs.
            kind: "characters", "bytes" or "words".
            min_count: rarer tokens are unknown.
            specials: names of tokens that no text contains, for the ids from 1 on.
        """
        if kind == "bytes":
            return cls([UNKNOWN, *specials, *_BYTES], kind)
        if isinstance(text_or_counts, str):
            text_or_counts = Counter(words(text_or_counts) if kind == "words" else text_or_counts)
        known = [(token, count) for token, count in text_or_counts.items() if count >= min_count]
        if kind == "words":
            known.sort(key=lambda entry: (-entry[1], entry[0]))
        else:
            known.sort()
        return cls([UNKNOWN, *specials, *(token for token, _ in known)], kind)

    def __len__(self) -> int:
        return len(self.tokens)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and (self.tokens, self.kind) == (other.tokens, other.kind)

    __hash__ = None  # type: ignore[assignment]

    def encode(self, text: str | bytes) -> np.ndarray:
        """The ids of a text's tokens in their order, (N,) int64; 0 for an unknown one. `bytes` only for bytes."""
        if self.kind == "words":
            assert isinstance(text, str)
            known = self.ids
            return np.array([known.get(word, 0) for word in words(text)], dtype=np.int64)
        return self._table[np.minimum(self._codes(text), len(self._table) - 1)]

    def split(self, text: str | bytes) -> Sequence[str]:
        """A text's tokens, known or not."""
        if self.kind == "bytes":
            return [_BYTES[code] for code in self._codes(text)]
        assert isinstance(text, str)
        return words(text) if self.kind == "words" else text

    def unknown_in(self, text: str | bytes) -> list[str]:
        """The tokens of `text` that the vocabulary lacks, in the order of their first appearance."""
        missing = np.flatnonzero(self.encode(text) == self.UNKNOWN)
        if not len(missing):
            return []
        tokens = self.split(text)
        return list(dict.fromkeys(tokens[int(place)] for place in missing))

    def decode(self, ids: Iterable[int]) -> str:
        """The text: characters joined, bytes as UTF-8, words with spaces between them; � is what has no character."""
        return "".join(self.pieces(ids))

    def pieces(self, ids: Iterable[int]) -> Iterator[str]:
        """`decode` as it goes: what each further id adds to the text. A character comes with the last of its bytes."""
        tokens = (self.tokens[number] for number in ids)
        if self.kind == "words":
            yield from _spaced(tokens)
        elif self.kind == "characters":
            yield from (token if len(token) == 1 else "\N{REPLACEMENT CHARACTER}" for token in tokens)
        else:
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            for token in tokens:
                yield decoder.decode(bytes([int(token, 16)]) if token.startswith("0x") else b"\xff")
            yield decoder.decode(b"", final=True)

    def facts(self) -> dict[str, Any]:
        """What JSON keeps of it, for `from_facts`."""
        return {"kind": self.kind, "tokens": self.tokens}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "Vocabulary":
        """The vocabulary that gave these `facts()`."""
        return cls(facts["tokens"], facts["kind"])

    def _by_code(self) -> np.ndarray:
        """Ids by code point or byte; the last entry, 0, stands for all code points beyond."""
        if self.kind == "words":
            return np.zeros(1, dtype=np.int64)
        if self.kind == "bytes":
            return np.array([self.ids.get(name, 0) for name in _BYTES], dtype=np.int64)
        codes = {ord(token): number for token, number in self.ids.items() if len(token) == 1}
        table = np.zeros(max(codes, default=0) + 2, dtype=np.int64)
        table[list(codes)] = list(codes.values())
        return table

    def _codes(self, text: str | bytes) -> np.ndarray:
        """Code points or byte values; a prompt may have lone surrogates, which stand for bytes that are no UTF-8."""
        if self.kind == "bytes":
            return np.frombuffer(text.encode(errors="surrogateescape") if isinstance(text, str) else text, np.uint8)
        assert isinstance(text, str)
        return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _spaced(tokens: Iterable[str]) -> Iterator[str]:
    """Words with the spaces of ordinary writing; straight quotes open and close in turn on each line."""
    glued, open_quotes = True, set[str]()
    for token in tokens:
        closes = token in open_quotes
        yield token if glued or closes or token == "\n" or token in _CLOSING else f" {token}"
        glued = token == "\n" or token in _OPENING
        if token == "\n":
            open_quotes.clear()
        elif token in ('"', "'", "`"):
            open_quotes ^= {token}
            glued = not closes
