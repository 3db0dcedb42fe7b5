"""The machine and the libraries: devices, memory, threads, signals, generations of torch and transformers."""
