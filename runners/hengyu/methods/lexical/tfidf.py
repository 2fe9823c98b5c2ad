"""tfidf(grams, words): the cosine of TF-IDF vectors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hengyu.methods.search.sparse import SparseSearch

__all__ = ["METHOD", "Tfidf"]


@dataclass
class Tfidf(SparseSearch):
    """Ranks texts by the cosine of TF-IDF vectors over character 1-2-grams or words; needs no encoder.

    ``grams=jieba`` are the words of jieba, ``grams=words`` those of a list without a dictionary: discovered in the texts that
    are indexed, or read from the file ``words``, which `hengyu words` writes (Su, kexue.fm 6920).

    The weight of a term is ``(1 + ln tf) (1 + ln((1 + n) / (1 + df)))``: scikit-learn's, with sublinear tf. Salton, Buckley,
    Term-weighting approaches in automatic text retrieval, 1988.
    """

    _idf: Any = field(init=False, repr=False)

    def _weigh(self, counts: Any) -> Any:
        from sklearn.feature_extraction.text import TfidfTransformer

        self._idf = TfidfTransformer(sublinear_tf=True).fit(counts)
        return self._idf.transform(counts)

    def _ask(self, counts: Any) -> Any:
        return self._idf.transform(counts)


METHOD = Tfidf
