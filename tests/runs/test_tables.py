"""Tables, to the letter."""

from project.runs.tables import table

ROWS = [{"class": "a|b", "images": 12, "recall": 0.5}, {"class": "c", "images": 3, "recall": 0.25}]


def test_columns_are_aligned_and_numbers_stand_on_the_right() -> None:
    assert table(ROWS).splitlines() == [
        "class  images  recall",
        "a|b        12  0.5000",
        "c           3  0.2500",
    ]


def test_markdown_escapes_what_comes_from_data() -> None:
    assert table(ROWS, markdown=True).splitlines() == [
        "| class | images | recall |",
        "| --- | --- | --- |",
        "| a\\|b | 12 | 0.5000 |",
        "| c | 3 | 0.2500 |",
    ]


def test_no_rows_no_table() -> None:
    assert table([]) == ""
