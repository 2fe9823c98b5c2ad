"""Regularisers of the training loop: gradient penalty, noise, WEISSI, and the two forms of gradient clipping."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

__all__ = [
    "clip_gradients",
    "gradient_penalty",
    "layer_weights",
    "noisy_embeddings",
    "noisy_weights",
    "twice_differentiable",
    "weissi",
]


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Compute attention by plain matrix products: torch's fused kernels have no second derivative."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


def gradient_penalty(loss: Tensor, weight: nn.Parameter, strength: float) -> Tensor:
    """Return ``strength / 2`` times the squared norm of the gradient of a loss with respect to a matrix, as a scalar.

    To first order its gradient is what the gradient of the loss gains if the matrix moves by ``strength`` times its own, as in
    adversarial training (Ross and Doshi-Velez, arXiv:1711.09404; kexue.fm 7234).
    """
    (gradient,) = torch.autograd.grad(loss, weight, create_graph=True, materialize_grads=True)
    penalty: Tensor = strength / 2 * gradient.square().sum()
    return penalty


@contextmanager
def noisy_embeddings(layer: nn.Module, std: float) -> Iterator[None]:
    """Add Gaussian noise to the outputs of a layer while it is in training mode (kexue.fm 7466); 0 for none.

    The noise is drawn from torch's generator, for every position anew.
    """
    if not std:
        yield
        return

    def add(module: nn.Module, _: Any, output: Tensor) -> Tensor | None:
        return output + std * torch.randn_like(output) if module.training else None

    handle = layer.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def noisy_weights(parameters: Sequence[nn.Parameter], std: float) -> Iterator[None]:
    """Add Gaussian noise to parameters, and restore them exactly (kexue.fm 7466); 0 for none."""
    if not std:
        yield
        return
    kept = [p.data.clone() for p in parameters]
    for p in parameters:
        p.data.add_(torch.randn_like(p.data), alpha=std)
    try:
        yield
    finally:
        for p, before in zip(parameters, kept, strict=True):
            p.data.copy_(before)


def layer_weights(model: nn.Module, parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    """Return the weight matrices among the parameters; embeddings, biases and the weights of norms are none."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    return [p for p in parameters if p.ndim > 1 and id(p) not in tables]


def weissi(weights: Sequence[Tensor], scale: float, direction: float) -> Tensor:
    """Return the weight-scale-shift-invariant regulariser of matrices W, as a scalar.

    It is ``scale`` times the sum of log |W| plus ``direction`` times the sum of the absolute entries of W / |W|, where |W| is
    the Frobenius norm. Scaling matrices by factors whose product is 1, which changes no network of positively homogeneous
    layers, does not change it (Liu, Cui and Chan, arXiv:2008.02965; kexue.fm 7681). Matrices of zeros are left out.
    """
    norms = [(w, w.norm()) for w in weights if bool(w.any())]
    terms = [scale * norm.log() + direction * (w / norm).abs().sum() for w, norm in norms]
    return torch.stack(terms or [0 * weights[0].sum()]).sum()


def clip_gradients(parameters: Sequence[nn.Parameter], most: float, form: str) -> None:
    """Shorten the gradient g of all parameters together; afterwards its norm is at most ``most`` (kexue.fm 7469).

    The form "hard" multiplies it by ``min(1, most / |g|)``, the form "smooth" by ``most / (|g| + most)`` (Zhang et al.,
    arXiv:1905.11881), which is never more and never less than half as much.
    """
    if form == "hard":
        nn.utils.clip_grad_norm_(parameters, most)
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    factor = most / (nn.utils.get_total_norm(gradients) + most)
    for gradient in gradients:
        gradient.mul_(factor.to(gradient.device))
