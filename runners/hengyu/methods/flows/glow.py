"""Glow without its convolutions, as in BERT-flow for sentence vectors.

Kingma and Dhariwal, Glow: Generative Flow with Invertible 1x1 Convolutions, arXiv:1807.03039; Li et al., On the Sentence
Embeddings from Pre-trained Language Models, arXiv:2011.05864. A sentence vector is an image of one pixel with d channels,
so an "invertible 1x1 convolution" is a d x d matrix and there is nothing to squeeze.

zuko, the best maintained flow library, does not fit: it has no activation normalisation, no factoring out of halves
(levels) and no pivoted LU, and its `LULinearTransform` multiplies L by U for every batch (d^3 operations; a batch of b
rows needs b d^2). Tests compare the layers here with zuko's couplings and LU transform, and with autograd's Jacobian.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["ActNorm", "Coupling", "Glow", "LULinear", "Reverse"]

_SCALE = 3.0  # factor of the trained logarithms, as in Glow's code: exp(3 s) learns three times as fast as exp(s)
_EPS = 1e-6

Kind = Literal["additive", "affine"]
Mix = Literal["lu", "reverse"]


class ActNorm(nn.Module):
    """Activation normalisation: y = (x + shift) exp(3 scale), with one shift and one scale per channel.

    The first batch after `arm` sets them so that every channel of y has mean 0 and variance 1; afterwards they are
    trained like any parameter.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(dim))
        self.scale = nn.Parameter(torch.zeros(dim))
        self.armed = True

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map x (n, d) to y (n, d) and the log-determinant (), which is the same for every row."""
        if self.armed:
            self._start(x.detach())
        logs = _SCALE * self.scale
        return (x + self.shift) * logs.exp(), logs.sum()

    def inverse(self, y: Tensor) -> Tensor:
        """Map y (n, d) back to x (n, d)."""
        return y * (-_SCALE * self.scale).exp() - self.shift

    def _start(self, x: Tensor) -> None:
        with torch.no_grad():
            self.shift.copy_(-x.mean(dim=0))
            self.scale.copy_(-torch.log(x.std(dim=0, unbiased=False) + _EPS) / _SCALE)
        self.armed = False


class LULinear(nn.Module):
    """An invertible matrix y = W x with W = P L (U + diag(sign exp(log_s))), started as a random rotation.

    P and the signs stay; L (unit lower), U (strictly upper) and log_s are trained; log|det W| = sum(log_s).
    """

    sign: Tensor
    order: Tensor
    back: Tensor
    lower_mask: Tensor

    def __init__(self, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        rotation, upper = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64))
        rotation = rotation * torch.sign(torch.diagonal(upper))  # makes it uniform over all rotations
        p, lower, upper = torch.linalg.lu(rotation)
        diagonal = torch.diagonal(upper)
        dtype = torch.get_default_dtype()
        self.lower = nn.Parameter(torch.tril(lower, -1).to(dtype))
        self.upper = nn.Parameter(torch.triu(upper, 1).to(dtype))
        self.log_s = nn.Parameter(diagonal.abs().log().to(dtype))
        self.register_buffer("sign", torch.sign(diagonal).to(dtype))
        order = p.argmax(dim=1)  # row i of P L U is row order[i] of L U
        self.register_buffer("order", order)
        self.register_buffer("back", torch.argsort(order))
        self.register_buffer("lower_mask", torch.tril(torch.ones(dim, dim, dtype=dtype), -1), persistent=False)

    def _factors(self) -> tuple[Tensor, Tensor]:
        eye = torch.eye(len(self.log_s), dtype=self.log_s.dtype)
        return self.lower * self.lower_mask + eye, self.upper * self.lower_mask.T + torch.diag(
            self.sign * self.log_s.exp()
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map x (n, d) to y (n, d) and the log-determinant ()."""
        lower, upper = self._factors()
        return (x @ upper.T @ lower.T)[:, self.order], self.log_s.sum()

    def inverse(self, y: Tensor) -> Tensor:
        """Map y (n, d) back to x (n, d)."""
        lower, upper = self._factors()
        half = torch.linalg.solve_triangular(lower, y[:, self.back].T, upper=False, unitriangular=True)
        x: Tensor = torch.linalg.solve_triangular(upper, half, upper=True)
        return x.T


class Reverse(nn.Module):
    """The channels in reverse order: the fixed permutation that BERT-flow's code uses instead of the matrix."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map x (n, d) to y (n, d) and the log-determinant 0."""
        return x.flip(1), x.new_zeros(())

    def inverse(self, y: Tensor) -> Tensor:
        """Map y (n, d) back to x (n, d)."""
        return y.flip(1)


class Coupling(nn.Module):
    """Shifts (and scales) the second half by a small network of the first; (n, d) to (n, d).

    additive: y2 = x2 + f(x1). affine: y2 = (x2 + f(x1)) sigmoid(g(x1) + 2). The network is linear, actnorm, ReLU, twice,
    and a last linear layer that starts at zero, so that an additive coupling starts as the identity.
    """

    def __init__(self, dim: int, width: int, kind: Kind, generator: torch.Generator) -> None:
        super().__init__()
        self.kind = kind
        self.cut = dim - dim // 2
        out = (dim - self.cut) * (2 if kind == "affine" else 1)
        self.first = nn.Parameter(0.05 * torch.randn(width, self.cut, generator=generator))
        self.second = nn.Parameter(0.05 * torch.randn(width, width, generator=generator))
        self.norms = nn.ModuleList([ActNorm(width), ActNorm(width)])
        self.last = nn.Parameter(torch.zeros(out, width))
        self.bias = nn.Parameter(torch.zeros(out))
        self.scale = nn.Parameter(torch.zeros(out))

    def _net(self, x: Tensor) -> Tensor:
        for weight, norm in zip((self.first, self.second), self.norms, strict=True):
            x = torch.relu(norm(x @ weight.T)[0])
        return (x @ self.last.T + self.bias) * (_SCALE * self.scale).exp()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map x (n, d) to y (n, d) and the log-determinants, () or (n,)."""
        a, b = x[:, : self.cut], x[:, self.cut :]
        if self.kind == "additive":
            return torch.cat([a, b + self._net(a)], dim=1), x.new_zeros(())
        shift, gate = self._net(a).chunk(2, dim=1)
        logs = nn.functional.logsigmoid(gate + 2.0)
        return torch.cat([a, (b + shift) * logs.exp()], dim=1), logs.sum(dim=1)

    def inverse(self, y: Tensor) -> Tensor:
        """Map y (n, d) back to x (n, d)."""
        a, b = y[:, : self.cut], y[:, self.cut :]
        if self.kind == "additive":
            return torch.cat([a, b - self._net(a)], dim=1)
        shift, gate = self._net(a).chunk(2, dim=1)
        return torch.cat([a, b / torch.sigmoid(gate + 2.0) - shift], dim=1)


class Glow(nn.Module):
    """``levels`` levels of ``depth`` steps (actnorm, mix, coupling); after each level but the last, half is finished.

    The prior is a standard normal on all of z, as in BERT-flow's code; z = (finished halves in order, the last level).
    """

    def __init__(
        self, dim: int, levels: int, depth: int, width: int, coupling: Kind, mix: Mix, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        self.keep: list[int] = []  # number of channels that continue after each level
        left = dim
        for level in range(levels):
            steps = nn.ModuleList()
            for _ in range(depth):
                mixing = LULinear(left, generator) if mix == "lu" else Reverse()
                steps.extend([ActNorm(left), mixing, Coupling(left, width, coupling, generator)])
            self.levels.append(steps)
            if level < levels - 1:
                left -= left // 2
            self.keep.append(left)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map x (n, d) to z (n, d) and the log-determinants (n,) in float64."""
        total = x.new_zeros(len(x), dtype=torch.float64)
        done: list[Tensor] = []
        for steps, keep in zip(self.levels, self.keep, strict=True):
            assert isinstance(steps, nn.ModuleList)
            for step in steps:
                x, logs = step(x)
                total = total + logs
            if keep < x.shape[1]:
                done.append(x[:, keep:])
                x = x[:, :keep]
        return torch.cat([*done, x], dim=1), total

    def inverse(self, z: Tensor) -> Tensor:
        """Map z (n, d) back to x (n, d)."""
        x = z[:, z.shape[1] - self.keep[-1] :]
        rest = z[:, : z.shape[1] - self.keep[-1]]
        for level in reversed(range(len(self.levels))):
            steps = self.levels[level]
            assert isinstance(steps, nn.ModuleList)
            if level < len(self.levels) - 1:
                size = (self.keep[level - 1] if level else z.shape[1]) - self.keep[level]
                x = torch.cat([x, rest[:, rest.shape[1] - size :]], dim=1)
                rest = rest[:, : rest.shape[1] - size]
            for step in reversed(steps):
                assert isinstance(step, ActNorm | LULinear | Reverse | Coupling)
                x = step.inverse(x)
        return x

    def started(self) -> None:
        """Mark the actnorms as initialised, as after loading."""
        for module in self.modules():
            if isinstance(module, ActNorm):
                module.armed = False
