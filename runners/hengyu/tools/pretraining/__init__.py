"""Masked language modelling of a small BERT from random weights: corpus, vocabulary, batches, loop, folder."""
