"""Presets and recipes: every key with its default, its limits and a word on it."""
