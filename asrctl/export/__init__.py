"""Trained models in the forms that other programs load, each verified before it is published."""
