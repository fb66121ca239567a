"""What watches a run: checkpoints, progress, and what TensorBoard shows."""
