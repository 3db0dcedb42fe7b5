"""asrctl: fine-tune CTC speech recognizers from the command line."""

__version__ = "0.1.0"
