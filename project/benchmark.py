"""`python -m project.benchmark input`: ours and a reference, in turn, in one run."""

import argparse
from pathlib import Path

NAMES = {
    "input": "augmented CIFAR-sized batches against PIL per sample",
    "recurrent": "layers of every recurrent cell against torch.nn's, and a whole training step against a loop by hand",
    "sweep": "our sweeps against batches, of trainings that only sleep; overhead, storage, locks, pruning",
}
SWEEP_PARTS = ("wall", "busy", "overhead", "storage", "locks", "pruning")


def main() -> None:
    """Measure what the command line names and print medians, ratios and the machine."""
    parser = argparse.ArgumentParser(prog="python -m project.benchmark", description=main.__doc__)
    helps = "; ".join(f"{name}: {what}" for name, what in NAMES.items())
    parser.add_argument("name", choices=list(NAMES), help=helps)
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each side (default: 5)")
    parser.add_argument("--images", type=int, default=20_000, help="input: images in memory (default: 20000)")
    parser.add_argument("--compile", nargs="*", default=[], metavar="CELL", help="recurrent: cells to compile as well")
    parser.add_argument("--parts", nargs="+", default=SWEEP_PARTS, choices=SWEEP_PARTS, help="sweep: what is measured")
    parser.add_argument("--quick", action="store_true", help="sweep: in a minute, to see that everything runs")
    parser.add_argument("--json", type=Path, help="sweep: a file for all figures")
    arguments = parser.parse_args()
    for name in ("repeats", "images"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(arguments, name)}")
    if arguments.name == "recurrent":
        from project.runs.recurrent_benchmark import CELLS, recurrent_layers, training_step

        for cell in arguments.compile:
            if cell not in CELLS:
                parser.error(f"--compile {cell}: there is no such cell; choose of {', '.join(CELLS)}")
        print(recurrent_layers(arguments.repeats, arguments.compile), flush=True)
        print(f"\n{training_step(arguments.repeats)}")
        return
    if arguments.name == "sweep":
        from project.runs.sweep_benchmark import QUICK, Scale, sweeps

        scale = QUICK if arguments.quick else Scale(repeats=arguments.repeats)
        for text in sweeps(arguments.parts, scale, arguments.json):
            print(text, flush=True)
        return
    from project.runs.benchmarks import input_pipeline

    print(input_pipeline(arguments.images, arguments.repeats))


if __name__ == "__main__":
    main()
