"""Architectures: the papers' equations as `torch.nn.Module`s, without Lightning and without configs."""
