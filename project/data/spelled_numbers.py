"""German numbers in words and the same in English, made on the spot: pairs that need no file and no network."""

from typing import Any, Literal

import numpy as np

from project.data.module import require
from project.data.translation import Bitext, TranslationDataModule

# fmt: off
GERMAN = (
    "null", "ein", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf", "zwölf",
    "dreizehn", "vierzehn", "fünfzehn", "sechzehn", "siebzehn", "achtzehn", "neunzehn",
)
GERMAN_TENS = ("zehn", "zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig")
ENGLISH = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)
ENGLISH_TENS = ("ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
# fmt: on
NUMBERS = 1_000_000  # all of them, from 0 on


def german(number: int) -> str:
    """0..999,999 as one word, units before tens: 421 is "vierhunderteinundzwanzig"."""
    return f"{_german(number)}s" if number % 100 == 1 else _german(number)


def _german(number: int) -> str:
    """As it stands before another part: "ein", which at the end is "eins"."""
    thousands, rest = divmod(number, 1000)
    if thousands:
        return f"{_german(thousands)}tausend{_german(rest) if rest else ''}"
    hundreds, rest = divmod(number, 100)
    if hundreds:
        return f"{GERMAN[hundreds]}hundert{_german(rest) if rest else ''}"
    tens, units = divmod(number, 10)
    if number < 20:
        return GERMAN[number]
    return f"{GERMAN[units]}und{GERMAN_TENS[tens - 1]}" if units else GERMAN_TENS[tens - 1]


def english(number: int) -> str:
    """0..999,999 in words apart: 421 is "four hundred twenty one"."""
    thousands, rest = divmod(number, 1000)
    if thousands:
        return f"{english(thousands)} thousand{f' {english(rest)}' if rest else ''}"
    hundreds, rest = divmod(number, 100)
    if hundreds:
        return f"{ENGLISH[hundreds]} hundred{f' {english(rest)}' if rest else ''}"
    tens, units = divmod(number, 10)
    if number < 20:
        return ENGLISH[number]
    return f"{ENGLISH_TENS[tens - 1]} {ENGLISH[units]}" if units else ENGLISH_TENS[tens - 1]


class SpelledNumbers(TranslationDataModule):
    """German numerals, each one word, to English words: what comes last in German often comes before in English.

    The numbers are the same in every run, any below 1,000,000, and none stands in two parts.

    Args:
        train_pairs: to train and validate on.
        test_pairs: to test on.
        common: what `TranslationDataModule` takes.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        train_pairs: int = 5000,
        test_pairs: int = 500,
        tokens: Literal["words", "subwords", "characters"] = "subwords",
        vocab_size: int = 120,
        **common: Any,
    ) -> None:
        super().__init__(tokens=tokens, vocab_size=vocab_size, **common)
        for name, count in (("train_pairs", train_pairs), ("test_pairs", test_pairs)):
            require(20 <= count <= NUMBERS // 2, f"data.{name} must lie between 20 and {NUMBERS // 2:,}", count)
        self.train_pairs, self.test_pairs = train_pairs, test_pairs

    def read(self) -> dict[str, Bitext]:
        numbers = np.random.default_rng(1).permutation(NUMBERS)
        return {
            "train": _pairs(numbers[: self.train_pairs]),
            "test": _pairs(numbers[-self.test_pairs :]),  # whatever train_pairs is, the same
        }


def _pairs(numbers: np.ndarray) -> Bitext:
    chosen = numbers.tolist()
    return Bitext([german(number) for number in chosen], [english(number) for number in chosen])
