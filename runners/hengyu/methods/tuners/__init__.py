"""Tuners: methods that fine-tune the encoder, one file each."""
