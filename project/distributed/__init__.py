"""Trainings of several processes, on one host or more: how they find each other, and how they notice a loss."""
