"""Tuners: methods that train the encoder, one file each."""
