"""`python -m project.benchmark all`: ours and a reference, in turn, in one run."""

import argparse
from collections.abc import Sequence
from pathlib import Path

NAMES = {
    "input": "augmented CIFAR-sized batches against PIL per sample",
    "step": "what the framework costs a training step, against a bare PyTorch loop",
    "networks": "training in the precision and layout of this machine, against float32 with channels first",
    "recurrent": "layers of every recurrent cell against torch.nn's, and a whole training step against a loop by hand",
    "recipe": "steps of experiment=cifar10_fast with their input, against a bare loop",
    "startup": "the help, the answer to a mistake, the first training step",
    "trials": "memory and start-up of trial after trial in one worker",
    "checkpoints": "their share of a training",
    "callbacks": "what each default callback costs a training, in per cent of it",
    "sweep": "our sweeps against batches, of trainings that only sleep; overhead, storage, locks, pruning",
}
ALONE = {  # not part of all
    "scale": "a study that many workers share, or that has 1,000 trials running, on every storage that there is here",
}
ON_DEVICE = ("input", "step", "networks", "recurrent", "recipe")  # the others measure processes, on the CPU
SWEEP_PARTS = ("wall", "busy", "overhead", "storage", "locks", "pruning")


def main() -> None:
    """Measure what the command line names and print medians, ratios and the machine."""
    parser = argparse.ArgumentParser(
        prog="python -m project.benchmark", description=main.__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    helps = "\n".join(f"{name}: {what}" for name, what in (NAMES | ALONE).items())
    parser.add_argument(
        "name", choices=[*NAMES, *ALONE, "all"], help=f"{helps}\nall: all but scale, in 20 minutes on 2 cores"
    )
    parser.add_argument("--repeats", type=int, help="measurements of each side (default: 5; of all: as time allows)")
    parser.add_argument("--images", type=int, default=20_000, help="input: images in memory (default: 20000)")
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "gpu"),
        default="auto",
        help=f"{', '.join(ON_DEVICE)}: where (default: on a CUDA device, if there is one)",
    )
    parser.add_argument("--compile", nargs="*", default=[], metavar="CELL", help="recurrent: cells to compile as well")
    parser.add_argument("--parts", nargs="+", default=SWEEP_PARTS, choices=SWEEP_PARTS, help="sweep: what is measured")
    parser.add_argument(
        "--quick", action="store_true", help="in a minute, to see that everything runs: its figures mean nothing"
    )
    parser.add_argument("--json", type=Path, help="sweep: a file for all figures")
    parser.add_argument(
        "--out", type=Path, default=Path("outputs/benchmark"), help="all: benchmark.json and benchmark.md (%(default)s)"
    )
    arguments = parser.parse_args()
    for name in ("repeats", "images"):
        if getattr(arguments, name) is not None and getattr(arguments, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(arguments, name)}")
    _check_cells(parser, arguments.compile)
    from project.benchmarks.running import kind_of, run  # torch and lightning
    from project.errors import UserError

    try:
        kind_of(arguments.device)
    except UserError as error:
        parser.error(f"--device {arguments.device}: {error}")
    run(arguments)


def _check_cells(parser: argparse.ArgumentParser, cells: Sequence[str]) -> None:
    if not cells:
        return
    from project.benchmarks.recurrent import CELLS

    for cell in cells:
        if cell not in CELLS:
            parser.error(f"--compile {cell}: there is no such cell; choose of {', '.join(CELLS)}")


if __name__ == "__main__":
    main()
