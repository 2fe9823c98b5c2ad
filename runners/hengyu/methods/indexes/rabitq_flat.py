"""rabitq-flat(bits, query_bits, fastscan, seed): RaBitQ codes of all vectors, compared with an unbiased estimate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hengyu.methods.search.base import FaissIndex
from hengyu.methods.search.rotated import check_rabitq, rotated

__all__ = ["METHOD", "RabitqFlat"]


@dataclass
class RabitqFlat(FaissIndex):
    """Compares a query with the RaBitQ codes of every vector (faiss ``IndexRaBitQ``, after a random rotation).

    Gao, Long, RaBitQ, SIGMOD 2024. ``query_bits`` is the precision of the query's coordinates where ``bits`` is 1, 0 for floats;
    ``fastscan`` compares 32 codes at a time (``IndexRaBitQFastScan``). d / 8 + 8 bytes per vector at 1 bit, bits d / 8 + 20 above.
    With `rescore` it is a first stage: the true neighbours are nearly always among its first hundred.
    """

    bits: int = 1
    query_bits: int = 8
    fastscan: bool = False
    seed: int = 0

    training_rows = 65536  # for the mean

    def __post_init__(self) -> None:
        check_rabitq("rabitq-flat", self.bits, self.query_bits, self.seed)

    def _make(self, d: int, n: int) -> Any:
        import faiss

        if self.fastscan:
            index: Any = faiss.IndexRaBitQFastScan(d, faiss.METRIC_INNER_PRODUCT, 32, self.bits)
        else:
            index = faiss.IndexRaBitQ(d, faiss.METRIC_INNER_PRODUCT, self.bits)
        index.qb = self.query_bits
        return rotated(index, d, self.seed)


METHOD = RabitqFlat
