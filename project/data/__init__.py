"""LightningDataModules, one per data set, and the batch loader that they share."""
