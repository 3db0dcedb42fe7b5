"""asrctl: fine-tune CTC speech recognisers from the command line."""

__version__ = "0.1.0"
