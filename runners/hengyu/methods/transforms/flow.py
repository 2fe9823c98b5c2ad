"""flow(levels, depth, width, coupling, mix, ...): BERT-flow, a Glow on sentence vectors trained by likelihood."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import Degenerate
from hengyu.methods.base import Floats
from hengyu.methods.fitted import SampleTransform
from hengyu.numerics.moments import Moments, spanning_columns
from hengyu.numerics.sample import Sample

if TYPE_CHECKING:
    from hengyu.methods.flows.glow import Glow

__all__ = ["METHOD", "Flow"]

_FEWEST = 64  # distinct rows


@dataclass
class Flow(SampleTransform):
    """Maps vectors to the latent z of a Glow trained on them by exact likelihood; (n, d) to (n, r), r <= d.

    Li et al., On the Sentence Embeddings from Pre-trained Language Models (EMNLP 2020, arXiv:2011.05864), and its code:
    ``levels`` levels of ``depth`` steps, each actnorm (started from the data), a mixing of the channels, and a coupling
    of ``width`` hidden units; a standard normal prior; a frozen encoder; no labels.

    * ``mix``: ``lu``, Glow's invertible 1x1 convolution with the LU parametrisation; or ``reverse``, the fixed
      permutation used by the published code. ``coupling``: ``additive`` (volume-preserving, the published
      choice) or ``affine``.
    * Trained with Adam for at most ``steps`` batches of ``batch`` rows, whatever the number of rows. A tenth of the
      distinct rows is held out; training ends early and keeps the state of their best likelihood.
    * A column that is a linear function of the others (a LayerNorm leaves one) has no density and is left out; otherwise
      the likelihood could grow without bound. No information is lost.

    `hengyu.methods.flows.glow` says why zuko's layers do not fit. Errors: ValueError for parameters out of
    range, `Degenerate` for rows that are too few or all the same.
    """

    levels: int = 2
    depth: int = 3
    width: int = 32
    coupling: str = "additive"
    mix: str = "lu"
    steps: int = 3000
    batch: int = 128
    lr: float = 5e-4
    seed: int = 0
    net: Any = field(init=False, repr=False)  # a `Glow`; PyTorch is imported only for training
    columns: NDArray[np.int64] = field(init=False, repr=False)
    report: dict[str, Any] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        for name, least, most in (("levels", 1, 8), ("depth", 1, 64), ("width", 1, 4096), ("batch", 2, 65536)):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"flow({name}={getattr(self, name)}) must lie in {least}..{most}")
        if self.steps < 1 or not 0 < self.lr < 1 or not 0 <= self.seed < 2**32:
            raise ValueError("flow needs steps >= 1, lr in 0..1 and a seed in 0..2^32")
        if self.coupling not in ("additive", "affine"):
            raise ValueError(f"flow(coupling={self.coupling}) must be additive or affine")
        if self.mix not in ("lu", "reverse"):
            raise ValueError(f"flow(mix={self.mix}) must be lu or reverse")

    def fit_sample(self, sample: Sample) -> Self:
        """Train on a sample batch by batch: of all rows only the numbers are in memory."""
        from hengyu.base.threads import one_thread
        from hengyu.methods.flows.training import Schedule, hold_out, train

        if len(sample) < _FEWEST:
            raise Degenerate(f"flow is fitted on {len(sample)} distinct sentences; it needs at least {_FEWEST}")
        moments = Moments.of(sample)
        if moments.spectrum.rank() < 2:
            raise Degenerate(
                "it is fitted on vectors that vary in fewer than two directions, so there is nothing to train"
            )
        self.columns = spanning_columns(moments)
        with one_thread():
            self.net = self._new(self.seed)
            fit_ids, held_ids = hold_out(sample, self.seed)
            schedule = Schedule(self.steps, self.batch, self.lr, self.seed)
            trace = train(self.net, sample, fit_ids, held_ids, self.columns, schedule)
        self.report = {**trace.report(), **self._look(sample, fit_ids, held_ids)}
        return self

    def __call__(self, x: Floats) -> NDArray[np.float32]:
        """Return z (n, r), float32, of the rows of x (n, d)."""
        return self._map(x)[0]

    def inverse(self, z: Floats) -> NDArray[np.float32]:
        """Invert the map: return the trained columns (n, r) of rows with the latent z (n, r)."""
        import torch

        with torch.no_grad():
            back: NDArray[np.float32] = self.net.inverse(torch.from_numpy(np.asarray(z, np.float32))).numpy()
        return back

    def state(self) -> dict[str, NDArray[Any]]:
        """Return parameters and trained columns as arrays."""
        return {"columns": self.columns, **{f"net.{k}": v.numpy() for k, v in self.net.state_dict().items()}}

    def restore(self, state: dict[str, NDArray[Any]], report: dict[str, Any]) -> Self:
        """Restore a state; raises ValueError if it has a different architecture."""
        import torch

        self.columns, self.report = state["columns"], report
        self.net = self._new(0)
        tensors = {k.removeprefix("net."): torch.from_numpy(v.copy()) for k, v in state.items() if k != "columns"}
        try:
            self.net.load_state_dict(tensors)
        except RuntimeError as e:
            raise ValueError(f"the state is of a different flow: {e}") from None
        self.net.started()
        return self

    def _new(self, seed: int) -> Glow:
        import torch

        from hengyu.methods.flows.glow import Glow

        generator = torch.Generator().manual_seed(seed)
        kinds: Any = {"coupling": self.coupling, "mix": self.mix}  # checked by __post_init__
        return Glow(len(self.columns), self.levels, self.depth, self.width, generator=generator, **kinds)

    def _map(self, x: Floats) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        import torch

        from hengyu.base.threads import one_thread

        with torch.no_grad(), one_thread():
            z, log_det = self.net(torch.from_numpy(np.ascontiguousarray(x[:, self.columns], dtype=np.float32)))
        return z.numpy(), log_det.numpy()

    def _look(self, sample: Sample, fit_ids: NDArray[np.int64], held_ids: NDArray[np.int64]) -> dict[str, Any]:
        """Evaluate the held-out rows: log-determinants, Gaussianity, and the bits of the best linear flow for comparison."""
        from hengyu.methods.flows.gaussianity import gaussianity
        from hengyu.methods.flows.linear import gaussian_bits

        held = sample.rows(held_ids)
        z, log_det = self._map(held)
        bits = self.report_bits(z, log_det)
        return {
            "columns": len(self.columns),
            "held_out_rows": len(held_ids),
            "bits": round(bits, 5),
            "linear_bits": round(gaussian_bits(sample, fit_ids, held_ids, self.columns), 5),
            "log_det": {k: round(float(getattr(log_det, k)()), 3) for k in ("mean", "std", "min", "max")},
            "gaussianity": gaussianity(z),
        }

    @staticmethod
    def report_bits(z: NDArray[np.float32], log_det: NDArray[np.float64]) -> float:
        """Return the mean bits per dimension of rows mapped to z (n, r)."""
        import torch

        from hengyu.methods.flows.training import bits_per_dim

        return float(bits_per_dim(torch.from_numpy(z), torch.from_numpy(log_det)).mean())


METHOD = Flow
