"""How many threads PyTorch computes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["one_thread"]


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread, where a second one costs more than it gains, or would change what is measured.

    On a busy machine two threads took fifteen times as long for small products. With one thread the order of summation, and so
    the bytes of the result, does not depend on the load.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
