"""Lexical search: texts to the texts that share their words or characters, one file each."""
