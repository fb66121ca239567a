"""Texts that a trained language model writes."""

import json
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, ListConfig
from tqdm import tqdm

from project.callbacks.checkpoint_files import load_checkpoint
from project.callbacks.samples import added, first_stream, led_in, read_prompt
from project.callbacks.verbatim import visible
from project.data.vocabulary import Vocabulary
from project.errors import UserError
from project.nets.cells import State
from project.nets.language_model import LanguageModel
from project.nets.sampling import Sampler, continuations
from project.runs.speed import device_for
from project.runs.trained import load_run
from project.tasks.language_model import LanguageModelling

_SMALL = 1 << 21  # entries of a matrix up to which a product with one vector is no faster on two cores


def run_sampling(cfg: DictConfig) -> list[dict[str, str]]:
    """Continue the prompts of `cfg`; one is streamed to the terminal, several are printed, or written to `cfg.output`.

    Returns:
        Per prompt: the `prompt`, and the `text` that follows it.

    Raises:
        UserError: no such run, or no language model; a prompt with what the model never saw; an option out of range;
            an output that is there already.
    """
    sampler = _sampler(cfg)
    prompts = _prompts(cfg.prompt, cfg.prompts)
    output = None if cfg.output is None else _new_file(Path(str(cfg.output)))
    trained = load_run(str(cfg.run), cfg.outputs, cfg.checkpoint)
    if not isinstance(trained.task, LanguageModelling):
        raise UserError(
            f"{trained.folder} is a {type(trained.task).__name__}, and only language models write texts: "
            "python -m project.predict uses classifiers and translators, python -m project.evaluate every run"
        )
    vocabulary = Vocabulary.from_facts(trained.data["vocabulary"])
    ids = [read_prompt(vocabulary, prompt) for prompt in prompts]
    net: Any = trained.task.net.to(device_for(cfg.accelerator))
    start = first_stream(load_checkpoint(trained.checkpoint).get("carried"))
    read = [led_in(vocabulary, own, start) for own in ids]
    with _threads(net):
        if len(prompts) == 1 and output is None:
            steps = continuations(net, read, cfg.length, sampler, cfg.seed, start)
            return [_stream(vocabulary, prompts[0], ids[0], steps)]
        drawn = _together(net, read, cfg, sampler, start)
    found = [
        {"prompt": prompt, "text": "".join(added(vocabulary, prompt, own, tokens))}
        for prompt, own, tokens in zip(prompts, ids, drawn, strict=True)
    ]
    if output is None:
        _print(_plain(found))
    else:
        _write(output, found)
    return found


def _sampler(cfg: DictConfig) -> Sampler:
    for key, least in (("length", 1), ("batch_size", 1), ("seed", 0), ("top_k", 0)):
        if not isinstance(cfg[key], int) or isinstance(cfg[key], bool) or cfg[key] < least:
            raise UserError(f"{key} must be a whole number of at least {least}, got {cfg[key]}")
    for key in ("temperature", "top_p"):
        if not isinstance(cfg[key], int | float) or isinstance(cfg[key], bool):
            raise UserError(f"{key} must be a number, got {cfg[key]}")
    if cfg.seed >= 2**32:
        raise UserError(f"seed must be at most {2**32 - 1}, got {cfg.seed}")
    try:
        return Sampler(cfg.temperature, cfg.top_k, cfg.top_p)
    except ValueError as error:
        raise UserError(str(error)) from error


def _prompts(prompt: Any, file: Any) -> list[str]:
    """Those of the command line, and those of a file, one a line; without any, an empty one."""
    given = list(prompt) if isinstance(prompt, ListConfig | list) else [] if prompt is None else [prompt]
    prompts = ["" if one is None else str(one) for one in given]
    if file is not None:
        path = Path(str(file))
        try:
            with path.open(encoding="utf-8-sig") as lines:
                read = [line.rstrip("\n") for line in lines if line.strip()]
        except UnicodeDecodeError as error:
            raise UserError(f"prompts={path} is not UTF-8: byte {error.object[error.start]:#04x}") from error
        except OSError as error:
            raise UserError(f"prompts={path} cannot be read: {error.strerror}") from error
        if not read:
            raise UserError(f"prompts={path} holds no prompt: write one a line")
        prompts += read
    return prompts or [""]


def _new_file(path: Path) -> Path:
    if path.exists():
        raise UserError(f"output={path} exists already: name a new file, or remove it first")
    if not path.absolute().parent.is_dir():
        raise UserError(f"output={path}: there is no folder {path.absolute().parent}: make it first")
    return path


def _stream(vocabulary: Vocabulary, prompt: str, ids: list[int], steps: Iterator[list[int | None]]) -> dict[str, str]:
    """Print the prompt, and each piece of the text as soon as it is known."""
    drawn = (token for (token,) in steps)
    pieces = []
    try:
        with _asked_to_stop() as asked:
            _print(prompt)
            for piece in added(vocabulary, prompt, ids, drawn):
                if asked:
                    raise KeyboardInterrupt
                pieces.append(piece)
                _print(piece)
    except KeyboardInterrupt:
        _print("\n")
        raise
    _print("\n")
    return {"prompt": prompt, "text": "".join(pieces)}


@contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """Holds a SIGINT that has come: as an exception it would be lost where it meets a callback or a destructor."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: asked.append(number))
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _print(text: str) -> None:
    """At once; what the terminal's encoding lacks, or a terminal would obey, is written out."""
    encoding = sys.stdout.encoding or "utf-8"
    text = visible(text) if sys.stdout.isatty() else text
    print(text.encode(encoding, "backslashreplace").decode(encoding), end="", flush=True)


def _together(
    net: LanguageModel,
    ids: Sequence[list[int]],
    cfg: DictConfig,
    sampler: Sampler,
    start: Sequence[State] | None,
) -> list[list[int]]:
    """The tokens of all texts, `cfg.batch_size` of them at a time."""
    drawn: list[list[int]] = []
    for first in tqdm(range(0, len(ids), cfg.batch_size), unit="batch", disable=None, leave=False):
        batch = ids[first : first + cfg.batch_size]
        tokens: list[list[int]] = [[] for _ in batch]
        for step in continuations(net, batch, cfg.length, sampler, cfg.seed + first, start):
            for own, token in zip(tokens, step, strict=True):
                if token is not None:
                    own.append(token)
        drawn += tokens
    return drawn


def _plain(found: list[dict[str, str]]) -> str:
    """Each text under a line with its number and prompt, which is shown as JSON."""
    return "\n".join(
        f"==> {number} {json.dumps(one['prompt'], ensure_ascii=False)}\n{one['prompt']}{one['text']}\n"
        for number, one in enumerate(found, 1)
    )


def _write(path: Path, found: list[dict[str, str]]) -> None:
    """JSON lines where the file's name asks for them; whole or not at all."""
    lines = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in found)
    partial = path.with_name(path.name + ".partial")
    content = lines if path.suffix == ".jsonl" else _plain(found)
    partial.write_text(content, encoding="utf-8", errors="backslashreplace", newline="")
    partial.replace(path)


@contextmanager
def _threads(net: LanguageModel) -> Iterator[None]:
    """One thread for small matrices: several would wait for each other longer than they compute."""
    before = torch.get_num_threads()
    if max(parameter.numel() for parameter in net.parameters()) <= _SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
