"""From a corpus to batches: recordings, transcripts, prepared shards, and the order in which training meets them."""
