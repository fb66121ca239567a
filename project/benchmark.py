"""`python -m project.benchmark input`: ours and a reference, in turn, in one process."""

import argparse


def main() -> None:
    """Measure what the command line names and print medians, ratios and the machine."""
    parser = argparse.ArgumentParser(prog="python -m project.benchmark", description=main.__doc__)
    parser.add_argument("name", choices=["input"], help="input: augmented CIFAR-sized batches against PIL per sample")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each side (default: 5)")
    parser.add_argument("--images", type=int, default=20_000, help="images in memory (default: 20000)")
    arguments = parser.parse_args()
    for name in ("repeats", "images"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(arguments, name)}")
    from project.runs.benchmarks import input_pipeline

    print(input_pipeline(arguments.images, arguments.repeats))


if __name__ == "__main__":
    main()
