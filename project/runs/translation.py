"""Translations of sentences that are in no data set, and of a whole test set."""

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from queue import Empty, Queue
from threading import Thread
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from omegaconf import DictConfig
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from project.callbacks.translations import said
from project.callbacks.verbatim import visible
from project.data.module import DataModule
from project.data.subwords import END, PAD, UNKNOWN, Tokenizer, tokenizer_from
from project.data.translation import TranslationDataModule
from project.errors import UserError
from project.runs.answers import show
from project.runs.folder import write_json
from project.runs.text_input import tell, texts
from project.runs.trained import Trained
from project.tasks.translation import Translation

PATIENCE = 0.02  # seconds that a line waits for others, to be translated with them
NAMED = 20  # unknown words that are named


def predict_translations(cfg: DictConfig, trained: Trained, device: torch.device) -> list[dict[str, Any]]:
    """Translate `cfg.input`: a sentence, or the lines of a file, or of standard input as they come.

    Lines are answered in their order, `cfg.batch_size` of them at a time, an empty one by an empty one; words that the
    run's vocabulary lacks are named on standard error.

    Returns:
        Per line: itself, its translation, and the score by which the search chose it (None without a word).

    Raises:
        UserError: an input that cannot be read, or a `cfg.beam_size` that is no number of at least 1.
    """
    width = beam_size(cfg)
    given = str(cfg.input)
    lines = texts(given)
    batches = in_time(lines, cfg.batch_size) if given == "-" else cut(lines, cfg.batch_size)
    translator = Translator(trained, device, width)
    results = (translator(batch) for batch in batches)
    if cfg.format == "lines":
        found = []
        for result in results:
            found += result
            print("\n".join(printed(one["translation"]) for one in result), flush=True)
    else:
        found = show(results, cfg.format, lambda one: {key: visible(one[key]) for key in ("text", "translation")})
    translator.report()
    return found


def beam_size(cfg: DictConfig) -> int | None:
    """How many beginnings a search keeps; None: as many as the run's own.

    Raises:
        UserError: no number of at least 1.
    """
    width: int | None = cfg.beam_size
    if width is not None and (not isinstance(width, int) or isinstance(width, bool) or width < 1):
        raise UserError(f"beam_size must be a whole number of at least 1, or null for the run's own, got {width}")
    return width


class Translator:
    """A run's network with the tokenizers of its languages.

    Args:
        beam_size: None: the run's own.
    """

    def __init__(self, trained: Trained, device: torch.device, beam_size: int | None) -> None:
        assert isinstance(trained.task, Translation)
        self.task, self.device, self.beam_size = trained.task.to(device), device, beam_size
        self.source, self.target = (tokenizer_from(trained.data[side]) for side in ("source", "target"))
        self.unknown: dict[str, None] = {}  # as a set in the order of appearance

    def __call__(self, lines: Sequence[str]) -> list[dict[str, Any]]:
        """Per line: itself, its translation and its score."""
        encoded = [self.source.encode(line) for line in lines]
        results: list[dict[str, Any]] = [{"text": line, "translation": "", "score": None} for line in lines]
        spoken = [number for number, ids in enumerate(encoded) if ids]
        if not spoken:
            return results
        sentences = [torch.tensor([*encoded[number], END]) for number in spoken]
        lengths = torch.tensor([len(sentence) for sentence in sentences])
        source = pad_sequence(sentences, padding_value=PAD).to(self.device)  # (S, B)
        for number, found in zip(spoken, self.task.translate(source, lengths, self.beam_size), strict=True):
            results[number] |= {"translation": self.target.decode(found.tokens), "score": found.score}
            if UNKNOWN in encoded[number]:
                self.unknown |= dict.fromkeys(unknown_words(lines[number], self.source))
        return results

    def report(self) -> None:
        """What was not understood, on standard error."""
        if self.unknown:
            words = [repr(word) for word in self.unknown]
            more = f", and {len(words) - NAMED} more" if len(words) > NAMED else ""
            tell(f"not in the vocabulary: {', '.join(words[:NAMED])}{more}")


def unknown_words(text: str, tokenizer: Tokenizer) -> list[str]:
    """The words of a text, as white space parts them, of which something is unknown."""
    return [word for word in text.split() if UNKNOWN in tokenizer.encode(word)]


def printed(text: str) -> str:
    """A terminal obeys no control character; a file gets what there is."""
    return visible(text) if sys.stdout.isatty() else text


def cut(lines: Iterable[str], size: int) -> Iterator[list[str]]:
    """Batches of `size` lines, the last one as many as are left."""
    left = iter(lines)
    while batch := list(islice(left, size)):
        yield batch


def in_time(lines: Iterable[str], size: int) -> Iterator[list[str]]:
    """Batches of at most `size` lines, such that none waits long for one that has yet to be written."""
    waiting: Queue[str | BaseException | None] = Queue(maxsize=4 * size)

    def read() -> None:
        try:
            for line in lines:
                waiting.put(line)
            waiting.put(None)
        except BaseException as error:  # it belongs to the thread that is waiting
            waiting.put(error)

    Thread(target=read, daemon=True).start()
    while True:
        batch = [waiting.get()]  # however long that takes
        with suppress(Empty):
            while len(batch) < size and isinstance(batch[-1], str):
                batch.append(waiting.get(timeout=PATIENCE))
        came = [line for line in batch if isinstance(line, str)]
        if came:
            yield came
        if isinstance(batch[-1], BaseException):
            raise batch[-1]
        if batch[-1] is None:
            return


@torch.no_grad()
def evaluate_translation(trained: Trained, data: DataModule, device: torch.device) -> dict[str, Any]:
    """Test a run by its own beam search; its folder gets the figures, and line by line what it made of the test part.

    Returns:
        `test/loss` in nats per token, `test/perplexity`, `test/bleu`.
    """
    assert isinstance(trained.task, Translation)
    assert isinstance(data, TranslationDataModule)
    task, loader = trained.task.to(device), data.test_dataloader()
    task.begin("test")
    total, tokens = 0.0, 0
    texts: dict[int, str] = {}  # by their places in the file
    for number, batch in enumerate(tqdm(loader, unit="batch", disable=None, leave=False)):
        batch = move_data_to_device(batch, device)
        _, (loss,), count = task.measure(batch, "test")
        total, tokens = total + loss.item(), tokens + count
        places = loader.order(0)[loader.share(number)]
        texts |= zip(places.tolist(), task.compare(batch, places, "test", data), strict=True)
    found = {"loss": total / tokens, "perplexity": math.exp(total / tokens), "bleu": task.bleu.read(device)}
    folder = trained.folder / "evaluation"
    folder.mkdir(exist_ok=True)
    metrics = {f"test/{name}": value for name, value in found.items()}
    write_json(folder / "metrics.json", {**metrics, "signature": task.bleu.signature, "beam_size": task.beam_size})
    lines = "".join(f"{texts[place]}\n" for place in sorted(texts))
    (folder / "translations.txt").write_text(lines, encoding="utf-8")
    print("\n\n".join(said(example) for example in task.examples))
    print(f"\nBLEU: {task.bleu.signature}\ntranslations: {folder / 'translations.txt'}\n")
    return metrics
