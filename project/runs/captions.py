"""Captions of images that are in no data set, and of a whole test set."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from omegaconf import DictConfig
from tqdm import tqdm

from project.callbacks.verbatim import visible
from project.data.captions import CaptionDataModule
from project.data.subwords import tokenizer_from
from project.runs.answers import show
from project.runs.folder import write_json
from project.runs.image_prediction import find_images, read_images, tell
from project.runs.trained import Trained
from project.runs.translation import beam_size, printed
from project.tasks.captioning import ORDERS, Captioning

SHOWN = 4  # captions of the test part that are printed


def predict_captions(cfg: DictConfig, trained: Trained, device: torch.device) -> list[dict[str, Any]]:
    """Write a caption of the image, or of the images in the folder, `cfg.input`; plain lines are captions alone.

    Returns:
        Per image: its path, the caption, and the score by which the search chose it.

    Raises:
        UserError: no such input, images that cannot be read (those that can are shown first), or a `cfg.beam_size`
            that is no number of at least 1.
    """
    assert isinstance(trained.task, Captioning)
    width, paths = beam_size(cfg), find_images(Path(str(cfg.input)))
    task, words = trained.task.to(device), tokenizer_from(trained.data["target"])
    failed: list[str] = []

    def batches() -> Iterator[list[dict[str, Any]]]:
        for start in range(0, len(paths), cfg.batch_size):
            images, readable = read_images(trained, paths[start : start + cfg.batch_size], device, failed)
            found = task.caption(images, width) if readable else []
            results: list[dict[str, Any]] = [
                {"image": str(path), "caption": words.decode(one.tokens), "score": one.score}
                for path, one in zip(readable, found, strict=True)
            ]
            if cfg.format == "lines" and results:
                print("\n".join(printed(result["caption"]) for result in results), flush=True)
            yield results

    found = show(batches(), cfg.format, lambda one: {key: visible(one[key]) for key in ("image", "caption")})
    tell(failed, len(paths))
    return found


@torch.no_grad()
def evaluate_captions(trained: Trained, data: CaptionDataModule, device: torch.device) -> dict[str, Any]:
    """Test a run by its own beam search; its folder gets the figures, and the captions in the order of the images.

    Returns:
        `test/loss` in nats per word, `test/perplexity`, `test/bleu_1` to `test/bleu_4`, and `test/true_captions` of
        data that can tell.
    """
    assert isinstance(trained.task, Captioning)
    task, loader = trained.task.to(device), data.test_dataloader()
    task.begin("test")
    total, words = 0.0, 0
    for number, batch in enumerate(tqdm(loader, unit="batch", disable=None, leave=False)):
        batch = move_data_to_device(batch, device)
        _, (loss,), count = task.measure(batch, "test")
        total, words = total + loss.item(), words + count
        task.compare(batch[0], loader.order(0)[loader.share(number)], "test", data)
    metrics = {"test/loss": total / words, "test/perplexity": math.exp(total / words)}
    scores = task.bleu.read_orders(device)
    metrics |= {f"test/bleu_{n}": score for n, score in zip(ORDERS, scores, strict=True)}
    true, checked = task.checked
    if checked:
        metrics["test/true_captions"] = true / checked
    folder = trained.folder / "evaluation"
    folder.mkdir(exist_ok=True)
    write_json(folder / "metrics.json", {**metrics, "signature": task.bleu.signature, "beam_size": task.beam_size})
    captions = sorted(task.captions)
    (folder / "captions.txt").write_text("".join(f"{one.text}\n" for one in captions), encoding="utf-8")
    for one in captions[:SHOWN]:
        said = "".join(f"\n  {visible(reference)}" for reference in data.references("test")[one.place])
        print(f"caption: {visible(one.text)}\nreferences:{said}\n")
    print(f"BLEU: {task.bleu.signature}\ncaptions: {folder / 'captions.txt'}\n")
    return metrics
