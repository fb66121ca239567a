"""Slurm: what a job asks for, how it is sent and watched, and how it stops, is queued again and goes on."""
