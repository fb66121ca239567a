"""What a language model writes: before its training, and at validations."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

from lightning import LightningModule, Trainer

from project.callbacks.drawing import Drawing, writers
from project.callbacks.verbatim import verbatim, visible
from project.data.vocabulary import Vocabulary, describe
from project.errors import UserError
from project.nets.cells import State
from project.nets.sampling import Sampler, continuations, evaluating
from project.tasks.language_model import LanguageModelling


class Samples(Drawing):
    """A sample as text in TensorBoard: `at first`, then `train more` at validations.

    It draws random numbers of its own and leaves the network as it was: a run is the same with it and without it.

    Args:
        prompt: what each sample begins with; empty: a new line.
        length: tokens.
        temperature: see `project.nets.sampling.Sampler`, as for `top_k` and `top_p`.
        seed: all samples are drawn with the same random numbers.
        every_n_validations: see `Drawing`, as for `where_it_fits`.

    Raises:
        ValueError: an argument out of range.
        UserError: in `setup`: the task is no language model, or its vocabulary lacks a character of the prompt.
    """

    def __init__(
        self,
        prompt: str = "",
        length: int = 300,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
        every_n_validations: int | None = None,
        where_it_fits: bool = False,
    ) -> None:
        super().__init__(every_n_validations, where_it_fits)
        if length < 1:
            raise ValueError(f"callbacks.samples.length must be at least 1, got {length}")
        self.prompt, self.length, self.seed = prompt, length, seed
        self.sampler = Sampler(temperature, top_k, top_p)

    def misfit(self, trainer: Trainer, task: Any) -> str | None:
        if isinstance(task, LanguageModelling):
            return None
        return f"shows what a language model writes, and this is a {type(task).__name__}"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if stage == "fit" and self.active:
            self.vocabulary = Vocabulary.from_facts(trainer.datamodule.facts["vocabulary"])  # type: ignore[attr-defined]
            self.ids = read_prompt(self.vocabulary, self.prompt)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.active and trainer.ckpt_path is None:
            for writer in writers(trainer):
                self._show(pl_module, writer, "at first")

    def draw(self, trainer: Trainer, task: Any, writer: Any, step: int) -> None:
        values = trainer.callback_metrics
        loss = f", val/loss {float(values['val/loss']):.4f}" if "val/loss" in values else ""
        self._show(task, writer, f"train more: {step:,} {trainer.datamodule.unit}{loss}")  # type: ignore[attr-defined]

    def _show(self, task: Any, writer: Any, title: str) -> None:
        with evaluating(task.net):
            start = first_stream(task.carried.get("train"))
            ids = led_in(self.vocabulary, self.ids, start)
            steps = continuations(task.net, [ids], self.length, self.sampler, self.seed, start)
            drawn = [token for (token,) in steps if token is not None]
        text = self.prompt + "".join(added(self.vocabulary, self.prompt, self.ids, drawn))
        writer.add_text("sample", f"{title}\n\n{verbatim(text)}", global_step=task.samples_seen)


def read_prompt(vocabulary: Vocabulary, prompt: str) -> list[int]:
    """The ids from which `prompt` is continued; those of a new line if it is empty, or the first token's without one.

    Raises:
        UserError: the vocabulary lacks a part of the prompt, which is named, or holds nothing to write with.
    """
    if len(vocabulary) < 2:
        raise UserError("the model's vocabulary is empty but for the unknown token, so it has nothing to write with")
    unknown = vocabulary.unknown_in(prompt)
    if unknown:
        if vocabulary.kind == "words":
            where = [repr(word) for word in unknown]
        else:
            where = [f"{describe(token)} at character {prompt.index(token) + 1}" for token in unknown]
        more = f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
        raise UserError(
            f"the prompt {prompt!r} has what the model never saw: {', '.join(where[:10])}{more}.\n"
            f"Write it with {vocabulary.kind} of the training text, e.g. {_examples(vocabulary)}"
        )
    ids = vocabulary.encode(prompt).tolist() or vocabulary.encode("\n").tolist()
    return [1] if ids == [vocabulary.UNKNOWN] or not ids else ids


def first_stream(carried: Sequence[State] | None) -> list[State] | None:
    """Of states that a training carries along, each (B, n), those of its first stream, (1, n)."""
    return None if carried is None else [tuple(part[:1] for part in state) for state in carried]


def led_in(vocabulary: Vocabulary, ids: list[int], start: Sequence[State] | None) -> list[int]:
    """What is to be read: behind the states of a text that was left somewhere, a new line comes first."""
    line = vocabulary.encode("\n").tolist()
    return ids if start is None or ids[:1] == line or vocabulary.UNKNOWN in line else [*line, *ids]


def added(vocabulary: Vocabulary, prompt: str, ids: list[int], drawn: Any) -> Any:
    """What each token of `drawn` adds to a text that begins with `prompt`, of these `ids`."""
    pieces = vocabulary.pieces(chain(ids, drawn))
    for _ in ids:
        next(pieces)
    for number, piece in enumerate(pieces):
        yield piece.lstrip(" ") if number == 0 and vocabulary.kind == "words" and prompt[-1:].isspace() else piece


def _examples(vocabulary: Vocabulary) -> str:
    tokens = vocabulary.tokens[1:]
    if vocabulary.kind == "words":
        return " ".join(token for token in tokens[:20] if token != "\n")
    return visible("".join(token for token in tokens[:100] if len(token) == 1 and token != "\n"))
