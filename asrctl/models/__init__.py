"""Speech encoders with a CTC head: configuration, weights, processor, forward pass and loss."""
