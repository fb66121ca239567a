"""A run from outside: the command line and its errors, the run's folder, the way from a config to a network."""

from project.runs.later import defer

defer()
