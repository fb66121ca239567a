"""A run from outside: the command line, its errors, the run's folder, and the way from a config to a trained network."""
