"""linear-flow(by, steps): the linear normalizing flow, trained by maximum likelihood; its optimum is whitening."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import Degenerate
from hengyu.methods.base import Floats
from hengyu.methods.fitted import SampleTransform
from hengyu.numerics.moments import Moments, spanning_columns
from hengyu.numerics.sample import Sample

__all__ = ["METHOD", "LinearFlow"]


@dataclass
class LinearFlow(SampleTransform):
    """Maps x to A (x - mean), A trained by maximum likelihood under a standard normal; (n, d) to (n, r), r <= d.

    Su, kexue.fm 8069 (a linear map against BERT-flow). The likelihood of a linear map depends on the rows only through
    mean and covariance, so the gradient is exact and one pass over the rows is enough; see `hengyu.methods.flows.linear.climb`
    for the ascent. ``by`` is the parametrisation: ``exp`` multiplies matrix exponentials, whose log-determinants are
    traces, det(exp(B)) = exp(tr B); ``full`` is a free matrix with its determinant. The optimum is whitening up to a
    rotation, which does not affect cosines; fewer ``steps`` stop on the way there.

    Columns that are linear functions of the others are left out, as in ``flow``. Errors: ValueError for parameters out of
    range, `Degenerate` for rows that are all the same.
    """

    by: str = "exp"
    steps: int = 200
    mean: NDArray[np.float64] = field(init=False, repr=False)
    matrix: NDArray[np.float64] = field(init=False, repr=False)
    columns: NDArray[np.int64] = field(init=False, repr=False)
    report: dict[str, Any] = field(init=False, repr=False, default_factory=dict)

    affine = True

    def __post_init__(self) -> None:
        if self.by not in ("exp", "full"):
            raise ValueError(f"linear-flow(by={self.by}) must be exp or full")
        if self.steps < 1:
            raise ValueError(f"linear-flow(steps={self.steps}) must be at least 1")

    def fit_sample(self, sample: Sample) -> Self:
        """Train on a sample; its held-out figures come from a second fit on nine tenths of the rows."""
        from hengyu.methods.flows.gaussianity import gaussianity
        from hengyu.methods.flows.linear import climb, gaussian_bits, moments_of
        from hengyu.methods.flows.training import hold_out

        moments = Moments.of(sample)
        if moments.spectrum.rank() < 1:
            raise Degenerate("it is fitted on vectors that are all the same, so there is nothing to train")
        self.columns = spanning_columns(moments)
        by = cast(Literal["exp", "full"], self.by)
        covariance = moments.covariance[np.ix_(self.columns, self.columns)]
        flow = climb(covariance, self.steps, by)
        self.mean, self.matrix = moments.mean[self.columns], flow.matrix
        fit_ids, held_ids = hold_out(sample, 0)
        self.report = {
            "step": list(range(len(flow.bits))),
            "train_bits": [round(b, 5) for b in flow.bits],
            "best_step": len(flow.bits) - 1,
            "stopped": "the gradient is 0" if len(flow.bits) <= self.steps else "all steps done",
            "columns": len(self.columns),
            "log_det": {"mean": round(flow.log_det, 3), "std": 0.0},
        }
        if len(fit_ids) > 2 * len(self.columns):
            held = np.asarray(sample.rows(held_ids)[:, self.columns], dtype=np.float64)
            part = moments_of(sample, fit_ids, self.columns)
            other = climb(part.covariance, self.steps, by)
            z = (held - part.mean) @ other.matrix.T
            d = len(self.columns)
            nats = 0.5 * float((z**2).sum(axis=1).mean()) - other.log_det + 0.5 * d * np.log(2 * np.pi)
            self.report |= {
                "held_out_rows": len(held_ids),
                "bits": round(nats / (d * np.log(2)), 5),
                "linear_bits": round(gaussian_bits(sample, fit_ids, held_ids, self.columns), 5),
                "gaussianity": gaussianity(z),
            }
        return self

    def __call__(self, x: Floats) -> Floats:
        """Return A (x - mean) (n, r) of the rows of x (n, d)."""
        return (x[:, self.columns] - self.mean) @ self.matrix.T

    def state(self) -> dict[str, NDArray[Any]]:
        """Return mean, matrix and trained columns."""
        return {"columns": self.columns, "mean": self.mean, "matrix": self.matrix}

    def restore(self, state: dict[str, NDArray[Any]], report: dict[str, Any]) -> Self:
        """Restore a state."""
        self.columns, self.mean, self.matrix, self.report = state["columns"], state["mean"], state["matrix"], report
        return self


METHOD = LinearFlow
