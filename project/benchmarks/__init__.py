"""What `python -m project.benchmark` measures: ours and plain code that anybody can check, in turn, in one run."""
