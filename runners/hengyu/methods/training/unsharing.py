"""ALBERT's blocks share one set of weights; here every block gets a copy of its own."""

from __future__ import annotations

import copy
from typing import Any

import torch

__all__ = ["shares_blocks", "unshare"]


def shares_blocks(model: Any) -> bool:
    """Whether several blocks of a transformer use the same weights, as in ALBERT."""
    config = model.config
    groups = getattr(config, "num_hidden_groups", None)
    return isinstance(groups, int) and groups < config.num_hidden_layers


def unshare(model: Any, optimizer: torch.optim.Optimizer | None = None) -> None:
    """Give every block of an ALBERT its own copy of the weights it uses; at first nothing is computed differently by that.

    With an optimizer its moments are copied too. Weights that L blocks shared had the sum of their gradients, so the copies get
    1/L of the mean and 1/L^2 of the mean square: the direction in which the shared weights went.

    Args:
        model: transformers' ALBERT, with or without a head.
        optimizer: of Adam's kind, with every weight of the blocks among its parameters.

    Raises:
        ValueError: if no blocks share weights.
    """
    if not shares_blocks(model):
        raise ValueError("the blocks of the model share no weights; only ALBERT's do")
    config, stack = model.config, model.base_model.encoder.albert_layer_groups
    count, groups = config.num_hidden_layers, list(stack)
    used = [int(at / (count / len(groups))) for at in range(count)]  # as the library counts
    blocks: list[torch.nn.Module] = []
    group_of = {id(p): group for group in optimizer.param_groups for p in group["params"]} if optimizer else {}
    for at, number in enumerate(used):
        source = groups[number]
        first = used.index(number) == at
        block = source if first else copy.deepcopy(source)
        blocks.append(block)
        if optimizer is None or first:
            continue
        for old, new in zip(source.parameters(), block.parameters(), strict=True):
            group_of[id(old)]["params"].append(new)
            optimizer.state[new] = {key: value.clone() for key, value in optimizer.state[old].items()}
    model.base_model.encoder.albert_layer_groups = torch.nn.ModuleList(blocks)
    config.num_hidden_groups = count
    if optimizer is None:
        return
    for at, block in enumerate(blocks):
        shared_by = used.count(used[at])
        for parameter in block.parameters():
            state = optimizer.state[parameter]
            for key, power in (("exp_avg", 1), ("exp_avg_sq", 2)):
                if key in state:
                    state[key] = state[key] / shared_by**power
