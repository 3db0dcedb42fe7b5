"""The packed engine: faster forward and backward passes over the parameters of a transformers model."""
