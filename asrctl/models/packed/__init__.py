"""Faster ways through a model whose weights stay transformers' own: same parameters, same names, same checkpoints."""
