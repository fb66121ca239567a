"""The passage that pictures are drawn over: the beginning of the validation text."""

import numpy as np
import pytest

from project.callbacks.held_out import HeldOutText, label
from project.data.streams import HeldOutStreams
from project.data.vocabulary import Vocabulary


@pytest.mark.parametrize(("streams", "length", "wanted"), [(1, 20, 14), (2, 20, 7), (1, 9, 9), (2, 3, 3), (2, 5, 5)])
def test_it_is_the_first_stream_as_far_as_it_goes(streams: int, length: int, wanted: int) -> None:
    ids = np.arange(100, 114)  # 13 predictions: of two streams the first has 6
    text = HeldOutText(length)
    for _ in range(2):  # a second validation begins anew
        for number, batch in enumerate(HeldOutStreams(ids, streams, 4).batches(0, 0)):
            text.add(batch, number)
        assert text.ids == ids[:wanted].tolist()


def test_a_token_is_named_as_it_is_drawn() -> None:
    characters = Vocabulary.build("a\n", "characters")
    assert [label(characters, number) for number in range(3)] == ["�", "\n", "a"]
    of_bytes = Vocabulary.build("", "bytes")
    assert [label(of_bytes, number) for number in (0, 1 + 0x0A, 1 + 0x41, 1 + 0xC3)] == ["�", "\n", "A", "\udcc3"]
    words = Vocabulary.build("the sea", "words")
    assert [label(words, number) for number in range(3)] == ["<unk>", "sea", "the"]
