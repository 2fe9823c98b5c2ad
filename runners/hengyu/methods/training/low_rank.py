"""Low-rank updates of a model in training (LoRA), by peft: added before the training, merged into the weights after it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from hengyu.methods.training.model import TrainableEncoder

__all__ = ["add_updates", "merge_updates"]

_ALL = "all-linear"


def add_updates(trainable: TrainableEncoder, names: Sequence[str], *, rank: int, alpha: float, dropout: float) -> None:
    """Give linear layers of the opened model an update of a rank, which is 0 until it is trained; all else is frozen.

    Args:
        trainable: with an opened model.
        names: the ends of the layers' names; ``["all-linear"]`` for all.
        rank: of the updates.
        alpha: alpha / rank is their factor.
        dropout: the rate of the updates' inputs.

    Raises:
        ValueError: if no layer has such a name.
    """
    import peft

    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,  # a factor, in peft also a float
        lora_dropout=dropout,
        target_modules=_ALL if list(names) == [_ALL] else list(names),
        exclude_modules=None if trainable.read == "pooler" else r"(.*\.)?pooler(\..*)?",
    )
    try:
        peft.inject_adapter_in_model(config, trainable.model)
    except ValueError as e:
        ends = sorted(
            {name.rpartition(".")[2] for name, part in trainable.model.named_modules() if isinstance(part, nn.Linear)}
        )
        raise ValueError(
            f"lora(modules={' '.join(names)}): the model has no such linear layers; it has {', '.join(ends)}"
        ) from e


def merge_updates(trainable: TrainableEncoder) -> None:
    """Add the updates to the weights and take them out of the model; raises ValueError if they are not finite."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    model = trainable.model
    for name, layer in list(model.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge(safe_merge=True)
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, layer.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config
    if hasattr(model, "_hf_peft_config_loaded"):
        model._hf_peft_config_loaded = False
    model.requires_grad_(True)
