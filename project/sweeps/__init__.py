"""Optuna sweeps: search space, storage, workers that never wait, pruning, and what is shown of them."""
