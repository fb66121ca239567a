"""Numbers in two languages."""

import pytest

from project.data.spelled_numbers import SpelledNumbers, english, german

NUMBERS = {
    0: ("null", "zero"),
    1: ("eins", "one"),
    12: ("zwölf", "twelve"),
    16: ("sechzehn", "sixteen"),
    21: ("einundzwanzig", "twenty one"),
    30: ("dreißig", "thirty"),
    70: ("siebzig", "seventy"),
    100: ("einhundert", "one hundred"),
    101: ("einhunderteins", "one hundred one"),
    421: ("vierhunderteinundzwanzig", "four hundred twenty one"),
    1000: ("eintausend", "one thousand"),
    1010: ("eintausendzehn", "one thousand ten"),
    7301: ("siebentausenddreihunderteins", "seven thousand three hundred one"),
    21_000: ("einundzwanzigtausend", "twenty one thousand"),
    101_001: ("einhunderteintausendeins", "one hundred one thousand one"),
    999_999: (
        "neunhundertneunundneunzigtausendneunhundertneunundneunzig",
        "nine hundred ninety nine thousand nine hundred ninety nine",
    ),
}


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers(number: int) -> None:
    assert (german(number), english(number)) == NUMBERS[number]


def test_all_numbers_differ() -> None:
    for spell in (german, english):
        assert len({spell(number) for number in range(0, 1_000_000, 37)}) == len(range(0, 1_000_000, 37))


def test_no_number_of_the_test_is_trained_on() -> None:
    module = SpelledNumbers(train_pairs=3000, test_pairs=400, vocab_size=80)
    module.setup()
    assert module.counts == {"train": 2700, "val": 300, "test": 400}
    seen = {split: set(module.sources(split)) for split in ("train", "val", "test")}
    assert len(seen["train"] | seen["val"] | seen["test"]) == 3400
    other = SpelledNumbers(train_pairs=100, test_pairs=400, vocab_size=80)
    other.setup()
    assert other.references("test") == module.references("test")
    assert module.samples_per_batch == pytest.approx(64 * 9.2, rel=0.1)  # words and </s>


@pytest.mark.parametrize("name", ["train_pairs", "test_pairs"])
def test_laws_of_the_counts(name: str) -> None:
    with pytest.raises(ValueError, match=f"data.{name} must lie between 20 and 500,000, got 19"):
        SpelledNumbers(**{name: 19})  # type: ignore[arg-type]
