"""Distillation of any encoder into a small BERT or a static n-gram encoder: vectors to imitate, student, loop, folder."""
