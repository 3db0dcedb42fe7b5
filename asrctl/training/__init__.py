"""Training: trainer, loop, dataloader, optimizer, divergence, checkpoints and runs."""
