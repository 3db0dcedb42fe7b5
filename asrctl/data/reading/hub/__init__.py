"""Data sets of the Hugging Face hub: which files they are, what their columns mean, and their rows as utterances."""
