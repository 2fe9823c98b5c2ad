"""Every method as a scikit-learn transformer: ``hengyu.estimators.Whitening(dim=64).fit(x).transform(x)``.

There is one class per method, named like the method's own class (`Whitening`, `PCA`, `AllButTheTop`, `Flow`, ...), made when it
is asked for; its parameters are those of the entry grammar. ``fit``, ``transform``, ``get_params``, ``Pipeline``, ``clone`` and
``get_feature_names_out`` work as scikit-learn's conventions say.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from functools import cache
from inspect import Parameter, Signature
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from hengyu.base.errors import did_you_mean
from hengyu.methods.base import Transform
from hengyu.methods.registry import find_method, method_names

__all__ = ["Estimator"]


class Estimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A method under scikit-learn's conventions.

    Attributes:
        method_: the fitted method, after `fit`.
    """

    method: ClassVar[type[Any]]
    method_: Any

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Learn from the rows of X (n, d); y is ignored. Raises ValueError for rows that the method cannot learn from."""
        learns = self.method.needs_fit
        rows = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2 if learns else 1)
        method = self.method(**self.get_params())
        try:
            method.fit(rows)
        except ValueError as e:
            raise ValueError(f"{e} (n_samples = {len(rows)}, n_features = {rows.shape[1]})") from None
        self.method_ = method
        self._n_features_out = int(np.asarray(method(rows[:1])).shape[1])
        return self

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """Map the rows of X (n, d) to (n, k)."""
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        mapped: NDArray[Any] = np.array(self.method_(rows))
        return mapped


@cache
def _classes() -> dict[str, type[Any]]:
    """Return the methods that map vectors to vectors, by the names of their classes."""
    found = (find_method(name) for name in method_names())
    return {m.__name__: m for m in found if issubclass(m, Transform)}


@cache
def _estimator(name: str) -> type[Estimator]:
    method = _classes()[name]
    own = [f for f in fields(method) if f.init]
    none = Parameter.empty
    parameters = [
        Parameter(f.name, Parameter.KEYWORD_ONLY, default=none if f.default is MISSING else f.default) for f in own
    ]

    def __init__(self: Any, **given: Any) -> None:
        bound = signature.bind(self, **given)
        bound.apply_defaults()
        for f in own:
            setattr(self, f.name, bound.arguments[f.name])

    signature = Signature([Parameter("self", Parameter.POSITIONAL_OR_KEYWORD), *parameters])
    __init__.__signature__ = signature  # type: ignore[attr-defined]
    body = {"__init__": __init__, "__doc__": method.__doc__, "__module__": __name__, "method": method}
    return type(name, (Estimator,), body)


def __getattr__(name: str) -> Any:
    """Return the estimator of a method by its class's name."""
    if name.startswith("_"):
        raise AttributeError(name)
    if name not in _classes():
        raise AttributeError(f"no estimator is called '{name}'{did_you_mean(name, _classes())}")
    return _estimator(name)


def __dir__() -> list[str]:
    """Return the names of all estimators."""
    return sorted(["Estimator", *_classes()])
