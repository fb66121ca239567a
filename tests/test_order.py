"""The lists by which tests are dealt out to workers name tests that there are."""

from pathlib import Path

import pytest

from tests.conftest import LONGEST, TOGETHER

TESTS = Path(__file__).parent


@pytest.mark.parametrize("start", [*LONGEST, *TOGETHER])
def test_what_it_names_is_there(start: str) -> None:
    file, _, name = start.partition("::")
    assert f"def {name or 'test_'}" in (TESTS / file).read_text()
