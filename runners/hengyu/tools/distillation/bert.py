"""The BERT student: batches of one exact token length, so that nothing is padded and attention needs no mask."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, linear

from hengyu.base.errors import HengyuError
from hengyu.encoders.module_files import write_dense, write_modules
from hengyu.tools.distillation.loop import encode_lines
from hengyu.tools.pretraining.vocabulary import Tokens, tokenize

__all__ = ["BertStudent", "refuse_unlike"]


def refuse_unlike(config: Any, where: str) -> None:
    """Raise `HengyuError` unless a configuration is that of a plain BERT encoder."""
    plain = (
        config.model_type == "bert"
        and getattr(config, "position_embedding_type", "absolute") == "absolute"
        and config.hidden_act == "gelu"
        and not config.is_decoder
    )
    if not plain:
        raise HengyuError(
            f"{where}: the start must be a BERT (model_type bert, gelu, absolute positions), not {config.model_type}; give "
            "another --start, or none"
        )


class BertStudent(nn.Module):
    """A BERT whose vector is the mean over its last layer, or a dense layer of that mean.

    Args:
        bert: the `BertModel` of transformers, in float32.
        tokens: the lines as token ids.
        tokenizer: the tokenizer to be written.
        length: its longest input in tokens.
        out: the width of the dense layer, 0 for none.
    """

    def __init__(self, bert: Any, tokens: Tokens, tokenizer: Any, length: int, out: int = 0) -> None:
        super().__init__()
        self.bert = bert
        self.tokenizer = tokenizer
        self.tokens = tokens
        self.length = length
        self.dense = nn.Linear(bert.config.hidden_size, out) if out else None
        self.dtype = torch.float32

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The tokens of each line (n,)."""
        return self.tokens.lengths

    def size(self, positions: int, length: int) -> int:
        """Return how many lines of a length make a batch."""
        return max(1, positions // length)

    def batch(self, rows: NDArray[np.int64]) -> Tensor:
        """Return lines of equal length as token ids (n, t)."""
        return torch.from_numpy(np.stack([self.tokens.row(int(i)) for i in rows]).astype(np.int64))

    def forward(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the vectors (n, d) of lines of equal length."""
        mean = self.means(rows)
        return mean if self.dense is None else self.dense(mean)

    def means(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the mean (n, d) over the last layer for lines of equal length.

        Written out, since on a CPU the products of attention in bfloat16 are nearly twice as fast as torch's fused attention;
        sums, norms and the softmax stay float32.
        """
        ids = self.batch(rows).to(self.bert.device)
        config, dtype, parts = self.bert.config, self.dtype, self.bert.embeddings
        n, t, d, heads = *ids.shape, config.hidden_size, config.num_attention_heads

        def product(x: Tensor, *of: Any) -> Tensor:
            weight, bias = (torch.cat([getattr(m, key) for m in of]).to(dtype) for key in ("weight", "bias"))
            return linear(x.to(dtype), weight, bias)

        def norm(x: Tensor, of: Any) -> Tensor:
            return layer_norm(x, (d,), of.weight, of.bias, config.layer_norm_eps)

        x = parts.word_embeddings.weight[ids] + parts.position_embeddings.weight[:t]
        x = norm(x + parts.token_type_embeddings.weight[0], parts.LayerNorm)
        for layer in self.bert.encoder.layer:
            own, after = layer.attention.self, layer.attention.output
            three = product(x, own.query, own.key, own.value).view(n, t, 3, heads, d // heads)
            query, key, value = three.permute(2, 0, 3, 1, 4)
            weights = torch.softmax((query @ key.transpose(-1, -2) * (d // heads) ** -0.5).float(), -1).to(dtype)
            seen = (weights @ value).transpose(1, 2).reshape(n, t, d)
            x = norm(x + product(seen, after.dense).float(), after.LayerNorm)
            wide = gelu(product(x, layer.intermediate.dense))
            x = norm(x + product(wide, layer.output.dense).float(), layer.output.LayerNorm)
        return x.mean(1)

    @torch.no_grad()
    def begin(self, weight: NDArray[np.float32] | None, bias: NDArray[np.float32]) -> None:
        """Set the dense layer; without one, subtract a mean (d,) from the last layer."""
        if self.dense is not None and weight is not None:
            self.dense.weight.copy_(torch.from_numpy(weight))
            self.dense.bias.copy_(torch.from_numpy(bias))
        else:
            self.bert.encoder.layer[-1].output.LayerNorm.bias.sub_(torch.from_numpy(bias))

    @torch.no_grad()
    def centre(self, texts: Sequence[str]) -> None:
        """Subtract the mean vector of some texts from all vectors."""
        lines, self.tokens = self.tokens, tokenize(self.tokenizer, texts, self.length)
        mean = torch.from_numpy(encode_lines(self, np.arange(len(texts))).mean(axis=0, dtype=np.float64))
        self.tokens = lines
        bias = self.bert.encoder.layer[-1].output.LayerNorm.bias if self.dense is None else self.dense.bias
        bias.sub_(mean.to(bias))

    def write(self, folder: Path) -> None:
        """Write a sentence-transformers folder: float16 safetensors, tokenizer, mean pooling, the dense layer."""
        import transformers

        bert, plain = copy.deepcopy(self.bert).cpu().half(), transformers.BertConfig()
        bert.config.update(
            {key: getattr(plain, key) for key in ("hidden_dropout_prob", "attention_probs_dropout_prob")}
        )
        try:
            bert.save_pretrained(folder, safe_serialization=True)
            self.tokenizer.save_pretrained(folder)
            # safetensors makes its file readable only by its owner; the weights get the permissions of the rest
            (folder / "model.safetensors").chmod((folder / "config.json").stat().st_mode & 0o777)
        except OSError as e:
            raise HengyuError(
                f"{folder}: cannot be written ({e.strerror or e}); free some space and run the same command again"
            ) from None
        write_modules(folder, width=int(bert.config.hidden_size), pooling="mean", length=self.length)
        if self.dense is not None:
            write_dense(folder, self.dense)

    def about(self) -> dict[str, str]:
        """Return what a model card says of the shape."""
        config = self.bert.config
        shape = f"{config.num_hidden_layers} layers, width {config.hidden_size}, {config.num_attention_heads} heads"
        dense = "" if self.dense is None else f", then a dense layer to {self.dense.out_features}"
        return {
            "shape": f"BERT: {shape}, at most {self.length} tokens",
            "vocabulary": f"{config.vocab_size:,} tokens",
            "parameters": f"{sum(p.numel() for p in self.parameters()):,}, stored as float16",
            "pooling": f"mean of the last layer{dense}",
        }

    @property
    def modules_after(self) -> Sequence[str]:
        """The kinds of module after the transformer."""
        return ("Pooling",) if self.dense is None else ("Pooling", "Dense")
