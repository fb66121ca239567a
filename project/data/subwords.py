"""Tokens of a language to be translated: words, characters, or subwords that are learned."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import tokenizers
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Metaspace, Punctuation
from tokenizers.trainers import BpeTrainer

from project.data.lines import tidy
from project.data.vocabulary import Vocabulary, words
from project.errors import UserError

UNKNOWN, PAD, BEGIN, END = range(4)
SPECIALS = ("<pad>", "<s>", "</s>")  # the tokens 1, 2 and 3 of every language; 0 is the unknown one
SPACE = "\u2581"  # begins each subword that begins a word


class Tokenizer(Protocol):
    """Text to ids and back; `tokens[id]` is the token's name for people."""

    tokens: list[str]

    def __len__(self) -> int: ...

    def encode(self, text: str) -> list[int]:
        """The ids, without begin and end."""

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text, faster."""

    def decode(self, ids: Iterable[int]) -> str:
        """Readable text; padding, begin and end are left out."""

    def facts(self) -> dict[str, Any]:
        """What JSON keeps of it, for `tokenizer_from`."""


class Plain:
    """Words, or characters, that a vocabulary lists."""

    def __init__(self, vocabulary: Vocabulary, lowercase: bool) -> None:
        self.vocabulary, self.lowercase, self.tokens = vocabulary, lowercase, vocabulary.tokens

    @classmethod
    def learn(cls, texts: Iterable[str], kind: str, min_count: int, lowercase: bool) -> "Plain":
        """The tokens that the texts have at least `min_count` times."""
        counts: Counter[str] = Counter()
        for text in texts:
            line = tidy(text, lowercase)
            counts.update(words(line) if kind == "words" else line)
        return cls(Vocabulary.build(counts, kind, min_count, SPECIALS), lowercase)

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str) -> list[int]:
        return self.vocabulary.encode(tidy(text, self.lowercase)).tolist()

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def decode(self, ids: Iterable[int]) -> str:
        return self.vocabulary.decode(number for number in ids if number not in (PAD, BEGIN, END))

    def facts(self) -> dict[str, Any]:
        return {"kind": self.vocabulary.kind, "lowercase": self.lowercase, "vocabulary": self.vocabulary.facts()}


class Subwords:
    """Byte-pair encoding (Sennrich et al. 2016) within words; punctuation marks stand by themselves.

    Args:
        tokens: the token of each id: "<unk>" and `SPECIALS`, then characters, then what merges make of them.
        merges: pairs of tokens that become one, the most important first.
        lowercase: read all letters as small ones.
    """

    def __init__(self, tokens: Sequence[str], merges: Sequence[Sequence[str]], lowercase: bool) -> None:
        self.tokens, self.merges, self.lowercase = list(tokens), [(left, right) for left, right in merges], lowercase
        ids = {token: number for number, token in enumerate(self.tokens)}
        # the specials are entries like others, so that no text is taken for one of them
        self._bpe = _untrained(BPE(ids, self.merges, unk_token=self.tokens[UNKNOWN], fuse_unk=True))

    @classmethod
    def learn(cls, texts: Iterable[str], vocab_size: int, lowercase: bool) -> "Subwords":
        """At most `vocab_size` tokens, the same ones for the same texts.

        Raises:
            UserError: the texts have more different characters than that.
        """
        lines = [tidy(text, lowercase) for text in texts]
        characters = {SPACE}
        for line in lines:
            characters.update(line)
        least = len(characters - {" "}) + len(SPECIALS) + 1
        if vocab_size < least:
            raise UserError(
                f"data.vocab_size={vocab_size} is too small for the characters of these texts: "
                f"choose {least} at least, better some times that, or data.tokens=words."
            )
        bpe = _untrained(BPE())
        special = [Vocabulary.build({}, "words").tokens[0], *SPECIALS]
        trainer = BpeTrainer(vocab_size=vocab_size, min_frequency=2, show_progress=False, special_tokens=special)
        bpe.train_from_iterator(lines, trainer)
        learned = json.loads(bpe.to_str())["model"]
        return cls(sorted(learned["vocab"], key=learned["vocab"].__getitem__), learned["merges"], lowercase)

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, text: str) -> list[int]:
        return self._bpe.encode(tidy(text, self.lowercase)).ids

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        return [found.ids for found in self._bpe.encode_batch_fast([tidy(text, self.lowercase) for text in texts])]

    def decode(self, ids: Iterable[int]) -> str:
        kept = (self.tokens[number] for number in ids if number not in (PAD, BEGIN, END))
        return tidy("".join(kept).replace(SPACE, " "), lowercase=False)

    def facts(self) -> dict[str, Any]:
        merges = [list(pair) for pair in self.merges]
        return {"kind": "subwords", "lowercase": self.lowercase, "tokens": self.tokens, "merges": merges}


def learn_tokenizer(
    texts: Sequence[str], tokens: str, vocab_size: int, min_count: int, lowercase: bool
) -> Plain | Subwords:
    """The tokens of a language, learned from its training sentences: words, characters or subwords."""
    if tokens == "subwords":
        return Subwords.learn(texts, vocab_size, lowercase)
    return Plain.learn(texts, tokens, min_count, lowercase)


def tokenizer_from(facts: Mapping[str, Any]) -> Plain | Subwords:
    """The tokenizer that gave these `facts()`."""
    if facts["kind"] == "subwords":
        return Subwords(facts["tokens"], facts["merges"], facts["lowercase"])
    return Plain(Vocabulary.from_facts(facts["vocabulary"]), facts["lowercase"])


def _untrained(model: BPE) -> tokenizers.Tokenizer:
    bpe = tokenizers.Tokenizer(model)
    words_apart = Metaspace(replacement=SPACE, prepend_scheme="always")
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([words_apart, Punctuation("isolated")])
    return bpe
