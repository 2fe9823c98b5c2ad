"""Normalizing flows on sentence vectors: the layers, the network of BERT-flow, and its training by likelihood."""
