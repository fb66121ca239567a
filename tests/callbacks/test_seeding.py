"""Step seeds: reproducible, and unlike their neighbours."""

import torch

from project.callbacks.seeding import step_seed


def test_a_seed_is_a_function_of_run_step_and_rank() -> None:
    seeds = {step_seed(seed, step, rank) for seed in range(10) for step in range(100) for rank in range(4)}
    assert len(seeds) == 4000
    assert step_seed(3, 14, 1) == step_seed(3, 14, 1)
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_neighbouring_steps_draw_unrelated_numbers() -> None:
    draws = torch.stack(
        [torch.rand(1000, generator=torch.Generator().manual_seed(step_seed(0, k, 0))) for k in range(20)]
    )
    correlation = torch.corrcoef(draws) - torch.eye(20)
    assert correlation.abs().max() < 0.15  # 4.7 standard deviations of 1000 independent pairs
