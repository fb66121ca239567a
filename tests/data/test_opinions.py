"""Opinions that turn on the order of words."""

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from project.data.opinions import CLASSES, NEGATIONS, WORDS, Opinions, write
from project.data.reviews import LabelledSentences


def opinion(text: str) -> int:
    """Read word by word: what the clause says that the sentence ends up with."""
    if text.startswith("although"):
        main = text.split(" , ")[1]
    elif " , although " in text:
        main = text.split(" , ")[0]
    else:
        main = text.split(" , but ")[-1]
    words = main.split()
    [adjective] = set(words) & {word for own in WORDS for word in own}
    return (adjective in WORDS[1]) ^ bool(set(words) & set(NEGATIONS))


def test_classes_are_what_the_sentences_say() -> None:
    texts = write({"train": 2000}, seed=3)["train"]
    assert [opinion(text) for text in texts] == [0, 1] * 1000
    forms = {(" but " in text, text.startswith("although"), ", although" in text) for text in texts}
    assert len(forms) == 4


def test_all_sentences_differ_and_are_the_same_in_every_run() -> None:
    parts = write({"train": 3000, "test": 1000}, seed=1)
    assert len({*parts["train"], *parts["test"]}) == 4000
    assert write({"train": 3000, "test": 1000}, seed=1) == parts
    assert write({"train": 3000}, seed=2)["train"] != parts["train"]


def test_counts_and_classes() -> None:
    module = Opinions(train_sentences=200, test_sentences=50, val_fraction=0.2)
    module.setup()
    assert module.classes == CLASSES
    assert module.counts == {"train": 160, "val": 40, "test": 50}
    for part in module.parts.values():
        assert isinstance(part, LabelledSentences)
        assert np.bincount(part.labels).tolist() == [len(part) // 2] * 2
        assert len(part.sentences.ids) > 5 * len(part)


def test_a_bag_of_words_does_not_solve_it() -> None:
    """Logistic regression on how often each word stands in a sentence."""
    module = Opinions()
    module.setup()

    def bags(split: str) -> tuple[torch.Tensor, torch.Tensor]:
        part = module.parts[split]
        assert isinstance(part, LabelledSentences)
        counts = torch.zeros(len(part), len(module.vocabulary))
        rows = torch.arange(len(part)).repeat_interleave(torch.from_numpy(part.sentences.lengths))
        counts.index_put_((rows, torch.from_numpy(part.sentences.ids).long()), torch.tensor(1.0), accumulate=True)
        return counts, torch.from_numpy(part.labels)

    inputs, labels = bags("train")
    weights = torch.zeros(inputs.shape[1], 2, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=50)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(inputs @ weights, labels) + 1e-3 * weights.square().sum()
        value.backward()
        return value

    optimizer.step(loss)  # type: ignore[arg-type]
    inputs, labels = bags("test")
    accuracy = ((inputs @ weights).argmax(1) == labels).float().mean()
    assert accuracy < 0.62


@pytest.mark.parametrize(("name", "count"), [*product(("train_sentences", "test_sentences"), (19, 100_001))])
def test_laws_of_the_counts(name: str, count: int) -> None:
    with pytest.raises(ValueError, match=f"data.{name} must lie between 20 and 100,000, got {count}"):
        Opinions(**{name: count})
