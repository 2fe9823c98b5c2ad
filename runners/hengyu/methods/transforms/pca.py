"""pca(dim, solver): the principal components of the centred vectors, not rescaled."""

from __future__ import annotations

from dataclasses import dataclass

from hengyu.methods.base import Floats
from hengyu.methods.spectral import SpectralTransform
from hengyu.numerics.moments import Spectrum

__all__ = ["METHOD", "PCA"]


@dataclass
class PCA(SpectralTransform):
    """Centres the rows and rotates them onto the first ``dim`` principal axes; (n, d) to (n, dim).

    At full dimension its cosines equal those of ``center``. Pearson, 1901; equals scikit-learn's ``PCA`` up to signs.
    ``solver=randomized`` keeps the first ``sketch`` axes at most and finds them by ``passes`` passes over the rows, for wide
    vectors (Halko, Martinsson, Tropp, Finding structure with randomness, arXiv:0909.4061; Su, kexue.fm 8706).
    """

    def axes(self, spectrum: Spectrum) -> Floats:
        """Return the first ``dim`` eigenvectors."""
        return spectrum.vectors[:, : self.dim]

    def __call__(self, x: Floats) -> Floats:
        """Return the components (n, k) of the rows of x (n, d)."""
        return (x - self.mean) @ self.matrix


METHOD = PCA
