"""A known text and its recording: which frame says which label, and what of either is not in the other."""
