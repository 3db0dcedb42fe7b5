"""What a model hears, and how often it is wrong."""
