"""LightningModules, one per learning problem: loss, metrics, what is logged."""
