"""Which pipelines of a retrieval run fit a larger corpus, a memory and a rate."""
