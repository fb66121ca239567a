"""Runs the benchmarks that the command line names, and keeps what they found."""

import argparse
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from project.benchmark import ON_DEVICE
from project.benchmarks.measuring import Figure, conditions, shown
from project.nets.kernels import has_bf16
from project.runs.folder import write_json
from project.runs.provenance import hardware
from project.runs.quiet import quiet
from project.runs.speed import device_for
from project.runs.tables import table

REPEATS = 5
# repeats of `all`, which is to end in 20 minutes on 2 cores
OF_ALL = {
    "input": 5, "step": 5, "networks": 3, "recurrent": 5, "recipe": 3, "startup": 5, "trials": 1, "checkpoints": 3,
    "callbacks": 1,
}  # fmt: skip
QUICK: dict[str, dict[str, Any]] = {
    "input": {"count": 512},
    "step": {"count": 4},
    "networks": {"count": 1, "names": ("mlp",)},
    "recurrent": {"names": ("mut1", "lstm"), "steps": 2},
    "recipe": {"count": 1, "words": ("data.batch_size=16", "model.net.widths=[4,4,4]")},
    "startup": {"words": ("data.train_images=200", "data.test_images=20", "data.batch_size=16"), "warm_up": 0},
    "trials": {"count": 4, "early": 2},
    "checkpoints": {"images": 500},
    "callbacks": {"names": ("resnet",), "words": ("data.train_images=200", "data.test_images=20")},
}


def run(arguments: argparse.Namespace) -> None:
    """Measure, print, and of `all` write a JSON file and a Markdown table."""
    if arguments.name == "sweep":
        for text in _sweep_texts(arguments):
            print(text, flush=True)
        return
    if arguments.name == "scale":
        _scale(quick=arguments.quick)
        return
    if arguments.name == "all":
        _all(arguments)
        return
    repeats = arguments.repeats or (1 if arguments.quick else REPEATS)
    device = _device(arguments)
    with quiet():
        print(shown(_benchmark(arguments)(repeats), repeats, device))
    if arguments.name == "startup":
        print(_imports())


def _all(arguments: argparse.Namespace) -> None:
    begun, figures, device = time.monotonic(), list[Figure](), kind_of(arguments.device)
    where = conditions(0, device)
    record: dict[str, Any] = {"machine": hardware(), "conditions": where, "figures": []}
    arguments.out.mkdir(parents=True, exist_ok=True)

    def keep(found: list[Figure], name: str, repeats: int) -> None:
        figures.extend(found)
        record["figures"] += [{"benchmark": name, "repeats": repeats, **figure.record()} for figure in found]
        write_json(arguments.out / "benchmark.json", record)
        text = f"{shown(figures, 0, device, markdown=True)}\n"
        (arguments.out / "benchmark.md").write_text(text, encoding="utf-8")
        print(
            f"{name}, {time.monotonic() - begun:.0f} s after the start\n{table([f.row() for f in found])}\n", flush=True
        )

    for name, usual in OF_ALL.items():
        repeats = arguments.repeats or (1 if arguments.quick else usual)
        named = argparse.Namespace(**{**vars(arguments), "name": name})
        with quiet():
            keep(_benchmark(named)(repeats), name, repeats)
    from project.benchmarks.sweeps import OF_ALL as SCALE
    from project.benchmarks.sweeps import QUICK as SMALL
    from project.benchmarks.sweeps import measured, sweep_figures

    scale = SMALL if arguments.quick else SCALE
    scale = replace(scale, repeats=arguments.repeats) if arguments.repeats else scale
    keep(sweep_figures(measured(scale), scale), "sweep", scale.repeats)
    print(f"{_imports()}\n{where}\n{arguments.out / 'benchmark.json'}, {arguments.out / 'benchmark.md'}")


def _benchmark(arguments: argparse.Namespace) -> Callable[[int], list[Figure]]:
    """What measures `arguments.name`, given the number of repeats."""
    from project.benchmarks import callbacks, input, recurrent, startup, step

    known: dict[str, Callable[..., list[Figure]]] = {
        "input": input.input_pipeline,
        "step": step.steps,
        "networks": step.networks,
        "recurrent": recurrent.recurrent,
        "recipe": step.recipe,
        "startup": startup.startup,
        "trials": startup.trials,
        "checkpoints": startup.checkpoints,
        "callbacks": callbacks.callbacks,
    }
    options = dict(QUICK[arguments.name]) if arguments.quick else {}
    device = _device(arguments)
    if arguments.name in ON_DEVICE:
        options["device"] = device
    if arguments.name == "input" and not arguments.quick:
        options["count"] = arguments.images
    if arguments.name == "recurrent":
        half = has_bf16(torch.device(device))
        options["compiled"] = arguments.compile or (["mut1"] if half and not arguments.quick else [])
    return partial(known[arguments.name], **options)


def _device(arguments: argparse.Namespace) -> str:
    """The type of the device that the benchmark computes on."""
    return kind_of(arguments.device) if arguments.name in ON_DEVICE else "cpu"


def kind_of(device: str) -> str:
    """What is measured on, of `auto`, `cpu` and `gpu`: `cpu` or `cuda`.

    Raises:
        UserError: there is no CUDA device.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device_for("cuda" if device == "gpu" else device).type


def _sweep_texts(arguments: argparse.Namespace) -> Iterator[str]:
    from project.benchmarks.sweeps import QUICK as SMALL
    from project.benchmarks.sweeps import Scale, sweeps

    scale = SMALL if arguments.quick else Scale(repeats=arguments.repeats or REPEATS)
    return sweeps(arguments.parts, scale, arguments.json)


def _scale(quick: bool) -> None:
    from project.benchmarks.scale import QUICK as FEW
    from project.benchmarks.scale import Scale, scale

    for text in scale(FEW if quick else Scale(), os.environ.get("PROJECT_SWEEP_STORAGE") or None):
        print(f"{text}\n", flush=True)
    print(conditions(0))


def _imports() -> str:
    from project.benchmarks.startup import imports

    found = {whose: ", ".join(names) or "none" for whose, names in imports().items()}
    return (
        f"heavy packages that a plain run imports: {found['ours']}; and Lightning for itself: {found['lightning']}\n"
        f"what `import lightning` imports and a plain run does not: {found['spared']}"
    )
