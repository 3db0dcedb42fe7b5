"""Training: the loop, what it is fed with, when it stops, and the runs and checkpoints that it leaves."""
