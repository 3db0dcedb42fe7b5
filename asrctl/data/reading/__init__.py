"""What the readers of corpora share: archives, tables, encodings, names of columns, splits and files."""
