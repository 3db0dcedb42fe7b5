"""N-gram language models: counted, estimated, read from ARPA files, and asked for the probability of a word."""
