"""How things are told: numbers with their nouns, reasons of failures, suggestions, commands to type."""
