"""asrctl beside the stock recipe. A package of its own: a library's wheel may hold one of the same name."""
