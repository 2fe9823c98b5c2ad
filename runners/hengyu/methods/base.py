"""The base classes of methods: what each kind must implement and may declare.

A method is a dataclass in a file of its own below transforms/, codes/, indexes/, lexical/, fusions/, similarities/ or
tuners/. It derives from the base class of its kind, and its fields are the parameters of the entry grammar. Declarations are class
attributes with defaults here, so nobody has to ask whether an attribute exists.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hengyu.numerics.sample import Sample

__all__ = ["Code", "Floats", "Fusion", "Ids", "Index", "Lexical", "Method", "Searcher", "Similarity", "Transform"]

Floats = NDArray[np.floating[Any]]
Ids = NDArray[np.int64]


@dataclass
class Method(ABC):
    """One step of an entry.

    Attributes:
        category: transform, code, index, lexical, fusion, similarity or tuner.
        needs_fit: whether it learns from rows or texts; such a step has a ``fit_on``.
        labelled: whether it learns from labels.
        searches: whether it finds neighbours, and so ends an entry of a retrieval suite.
        joint: whether it scores the two texts of a pair together and leaves no vectors; then nothing stands after it.
        joins: how many entries it joins, or tuners it wraps; they are written before its parameters, like
            ``rrf(flat, bm25)`` and ``matryoshka(cosent)``.
        paths: the parameters that are paths of files, "" for none; in a suite they count from its folder.
        models: the parameters that are models, each a path or a name; in a suite a path counts from the suite's folder.
        version: raise it to discard stored results for a reason that neither code nor parameters show.
    """

    category: ClassVar[str]
    needs_fit: ClassVar[bool] = True
    labelled: ClassVar[bool] = False
    searches: ClassVar[bool] = False
    joint: ClassVar[bool] = False
    joins: ClassVar[int] = 0
    paths: ClassVar[tuple[str, ...]] = ()
    models: ClassVar[tuple[str, ...]] = ()
    version: ClassVar[int] = 1

    @property
    def files(self) -> Sequence[str]:
        """The paths of files that it reads; their content counts in its key."""
        return tuple(str(path) for name in self.paths if (path := getattr(self, name)))

    def check_files(self) -> None:
        """Raise ValueError if one of them cannot be used; asked when a suite is read, not when a run is shown."""
        from hengyu.base.bounded import user_path

        for path in self.files:
            if not user_path(path).is_file():
                raise ValueError(f"{path}: there is no such file; check the path")

    def reads(self) -> dict[str, Any]:
        """Return the keys of what it reads besides rows and parameters, like the vectors of a guide; they count in its key.

        By default these are the sha256 of its files, "" for one that cannot be read: the step that wants it says so.
        """
        from hengyu.base.bounded import sha256_of, user_path

        found = []
        for path in self.files:
            try:
                found.append(sha256_of(user_path(path)))
            except OSError:
                found.append("")
        return {"files": found} if found else {}

    def bytes_per_vector(self, width: int) -> int:
        """Return the bytes of one result vector of ``width`` columns: as float32, unless it is a code."""
        return 4 * width


class Transform(Method):
    """Vectors to vectors, row by row; rows of a batch must not influence each other.

    Attributes:
        affine: whether a fitted object maps x to x W + b; such steps are exported as one dense layer.
        nested: whether the first k columns of the result are the result at dimension k; then one pass serves every k.
    """

    category = "transform"
    affine: ClassVar[bool] = False
    nested: ClassVar[bool] = False

    @abstractmethod
    def fit(self, x: Floats) -> Self:
        """Learn from the rows of x (n, d); a transform with ``needs_fit = False`` returns itself."""

    @abstractmethod
    def __call__(self, x: Floats) -> NDArray[Any]:
        """Map the rows of x (n, d) to (n, k): floats, or small integers for some codes."""


class Code(Transform):
    """A transform whose result represents a compact code: cosines of results rank pairs like the codes' distances."""

    category = "code"

    @abstractmethod
    def bytes_per_vector(self, width: int) -> int:
        """Return the bytes of one vector's code; ``width`` is the number of columns of the result."""


class Searcher(Method):
    """What finds neighbours; the last step of an entry in a retrieval suite.

    Attributes:
        costly: whether a query takes so long that it is asked once, and its rate is measured in passing.
    """

    needs_fit = False
    searches = True
    costly: ClassVar[bool] = False

    @property
    def calls_per_query(self) -> float:
        """How often a cross-encoder is called for a query, on average over those asked; 0 without one."""
        return 0.0

    @abstractmethod
    def search(self, q: Any, k: int) -> tuple[Ids, NDArray[np.float32]]:
        """Return row numbers and scores (Q, k) for Q queries, best first, ties by number; -1 if there are fewer."""

    @abstractmethod
    def size(self) -> int:
        """Return the size of the index in bytes."""

    @abstractmethod
    def vector_size(self) -> float:
        """Return the bytes that one more row adds."""

    def warm(self) -> None:
        """Do the one-time work of the first search, such as compiling."""


class Index(Searcher):
    """Vectors to nearest neighbours by inner product.

    Tasks give vectors of length 1, so the inner product is the cosine.

    Attributes:
        after_index: whether it stands after another index, whose results it takes further.
    """

    category = "index"
    after_index: ClassVar[bool] = False

    def over(self, coarse: Index) -> Self:
        """Set the index before it, for one that stands `after_index`; another one has none."""
        raise NotImplementedError

    @abstractmethod
    def build(self, x: Floats | Sample, block: int = 4096) -> Self:
        """Add the rows of x (n, d), read ``block`` at a time; the results must not depend on ``block``."""

    @abstractmethod
    def search(self, q: Floats, k: int) -> tuple[Ids, NDArray[np.float32]]:
        """Return row numbers and scores (Q, k) for queries (Q, d), best first, ties by number; -1 if there are fewer."""


class Lexical(Searcher):
    """Texts to texts, by shared words or a cross-encoder's scores; it needs no vectors, so no step stands before it."""

    category = "lexical"

    @abstractmethod
    def build(self, texts: Sequence[str]) -> Self:
        """Index texts (n,)."""

    @abstractmethod
    def search(self, q: Sequence[str], k: int) -> tuple[Ids, NDArray[np.float32]]:
        """Return row numbers and scores (Q, k) for queries (Q,), best first, ties by number; -1 if there are fewer."""


class Fusion(Method):
    """Several ranked lists to one; the entries that give the lists are written first: ``rrf(whitening > flat, bm25)``.

    Attributes:
        depth: how many results of each entry are joined; a subclass has it as a field.
    """

    category = "fusion"
    needs_fit = False
    searches = True
    joins = 2
    depth: int

    @abstractmethod
    def fuse(self, lists: Sequence[tuple[Ids, NDArray[np.float32]]], k: int) -> tuple[Ids, NDArray[np.float32]]:
        """Return row numbers and scores (Q, k) of lists of row numbers and scores (Q, depth), best first, ties by number.

        -1 marks the places of a list that found fewer, and those of the result if there are fewer.
        """


class Similarity(Method):
    """Two vectors to a number, higher for more alike; it stands behind ``by`` at the end of an entry: ``whitening by dot``.

    Attributes:
        needs_fit: whether it learns from the sentences that the row is fitted on, as they are after the entry's steps.
        by_pair: whether the number follows from the two vectors; one that asks for their neighbours needs a set of others too.
        searchable: whether a retrieval suite can search by it (`as_products`).
        stored: numbers that search by it keeps of every vector beside the vector itself.
    """

    category = "similarity"
    needs_fit = False
    by_pair: ClassVar[bool] = True
    searchable: ClassVar[bool] = False
    stored: ClassVar[int] = 0

    def fit(self, reference: Sample) -> Self:
        """Learn from reference vectors (m, d); one with ``needs_fit = False`` returns itself."""
        return self

    @abstractmethod
    def pairs(self, x: Floats, first: Ids, second: Ids) -> NDArray[np.float64]:
        """Return the similarity (n,) of rows ``first`` and ``second`` (n,) of x (m, d); equal vectors must tie."""

    def as_products(self, rows: Sample, queries: Sample, block: int) -> tuple[Sample, Sample]:
        """Return rows and queries, mapped so that their inner products order the rows of each query as it does.

        No mapped vector is longer than 1. Rows are read ``block`` at a time, and the order must not depend on it. Only one that
        is `searchable` has this.
        """
        raise NotImplementedError
