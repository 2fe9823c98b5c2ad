"""Hengyu (衡语) weighs Chinese sentence embeddings: encode once, score many methods."""

__all__ = ["__version__"]

__version__ = "0.1.0"
