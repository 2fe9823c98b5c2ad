"""The model in training: token ids to vectors with gradients, with the pooling of the evaluation; and its folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hengyu.base.errors import HengyuError, first_line
from hengyu.encoders.architectures import accepted
from hengyu.encoders.mixed_precision import autocast
from hengyu.encoders.model_folder import ModelFolder
from hengyu.encoders.module_files import (
    TRANSFORMER,
    write_attention,
    write_dense,
    write_modules,
    write_word_weights,
)
from hengyu.encoders.pooling import lacking, pool, states
from hengyu.encoders.pooling_names import LIBRARY_POOLINGS
from hengyu.encoders.tokenizer import Tokenizer
from hengyu.encoders.without_attention import MODULE, code_of, make_known

if TYPE_CHECKING:
    from hengyu.encoders.attention import TokenAttention
    from hengyu.encoders.huggingface import HuggingFace

__all__ = ["TrainableEncoder"]

_PIECE = 32  # rows per forward pass: rows of similar length share one, so there is little padding
_DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "hidden_dropout", "attention_dropout", "dropout")
_BESIDE = (".json", ".txt", ".model", ".vocab")  # extensions of a tokenizer's files
_NOT_BESIDE = ("modules.json", "model.safetensors.index.json", "hengyu.json")
Rows = Sequence[Sequence[int]]


class TrainableEncoder:
    """A transformer in training; its weights are float32, whatever the dtype of the evaluation."""

    model: Any
    tokenizer: Tokenizer

    def __init__(self, encoder: HuggingFace, pooling: str) -> None:
        self.encoder = encoder
        self.pooling = pooling
        self.device = torch.device(encoder.device)
        self._plain: dict[str, Any] = {}  # the configuration's dropout rates
        self.weights = encoder.folder.transformer  # the folder that they are read from
        self.token_weights: NDArray[np.float64] | None = None  # (V,), of its means; None where all are the same
        self.attention: TokenAttention | None = None  # weighs the tokens of a mean
        self.layer: nn.Linear | None = None  # comes after the pooling
        self.variants: dict[str, dict[str, Tensor]] = {}  # name -> weights that take the place of the model's own
        folder = encoder.folder
        if folder.word_weights is not None:
            raise HengyuError(
                "the tokens of its means have weights, and it cannot be trained; put what trains it first"
            )
        self.read = pooling
        if pooling == "native":
            self.read = (folder.tail or ("", False))[0]
        if folder.static:
            raise HengyuError("the model is not a transformer, and only transformers can be trained")
        if folder.adapter:
            raise HengyuError(
                "the model is an adapter on a base model, which cannot be trained; merge them first: "
                "model.merge_and_unload().save_pretrained(DIR)"
            )
        if not self.read:
            raise HengyuError(
                "its native vectors pass through its own modules, which cannot be trained; name a pooling, or train nothing after "
                "attention-pooling or whitening-layer"
            )
        if self.read == "echo":
            raise HengyuError("the pooling echo reads a text twice, which cannot be trained; name another pooling")
        if encoder.spec.attention:
            raise HengyuError("a model with attention = 'bidirectional' cannot be trained; remove attention")

    def open(self, *, dropout: float | None, length: int, dtype: str = "float32") -> None:
        """Load the model with a dropout rate (None for its own) and a maximum input length in tokens.

        ``dtype`` is that of the matrix products in training.
        """
        import transformers

        folder = self.encoder.folder
        self.dtype = dtype
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        spec = replace(folder.spec, max_length=min(length, folder.max_length))
        self.tokenizer = Tokenizer(ModelFolder(folder.path, spec, identifier=folder.id))
        make_known(folder.config)
        config = transformers.AutoConfig.from_pretrained(
            folder.transformer, local_files_only=True, trust_remote_code=spec.trust_remote_code
        )
        self._plain = {key: getattr(config, key) for key in _DROPOUTS if isinstance(getattr(config, key, None), float)}
        if dropout is not None:
            if dropout and not self._plain:
                raise HengyuError("the model has no dropout, so two passes of a sentence would be the same")
            for key in self._plain:
                setattr(config, key, dropout)
        try:
            self.model = transformers.AutoModel.from_pretrained(
                self.weights,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=spec.trust_remote_code,
            ).to(self.device)
        except Exception as e:
            raise HengyuError(f"{folder.where}: cannot be loaded ({first_line(e)}); get the model again") from None

    @property
    def width(self) -> int:
        """The width of its vectors."""
        return int(self.model.config.hidden_size) if self.layer is None else self.layer.out_features

    @property
    def saved_pooling(self) -> str:
        """The pooling by which the saved folder has its vectors: ``native`` with modules of its own."""
        return self.pooling if self.attention is None and self.layer is None else "native"

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of texts, truncated to the maximum length."""
        return list(self.tokenizer(texts)[0])

    def parameters(self) -> list[nn.Parameter]:
        """Return the trained parameters; an unused pooler is not trained."""
        own = [
            p
            for name, p in self.model.named_parameters()
            if p.requires_grad and (self.read == "pooler" or "pooler" not in name)
        ]
        return own + self._added()

    def _added(self) -> list[nn.Parameter]:
        """Return the parameters of what stands between the model and its vectors."""
        return [p for part in (self.attention, self.layer) if part is not None for p in part.parameters()]

    def encoding_parameters(self) -> list[nn.Parameter]:
        """Return all parameters that `embed` computes with."""
        return [*self.model.parameters(), *self._added()]

    @property
    def embeddings(self) -> nn.Parameter:
        """The matrix of word embeddings."""
        weight: nn.Parameter = self.model.get_input_embeddings().weight
        return weight

    def pieces(self, rows: Rows) -> list[NDArray[np.int64]]:
        """Return groups of row numbers that pass the model together: rows of similar length."""
        order = np.argsort([len(r) for r in rows], kind="stable")
        return [order[at : at + _PIECE] for at in range(0, len(order), _PIECE)]

    def embed(self, rows: Rows) -> Tensor:
        """Return the vectors (n, d) of token ids, in order; with gradients if they are enabled."""
        pieces = self.pieces(rows)
        vectors = torch.cat([self.forward([rows[int(i)] for i in piece]) for piece in pieces])
        back = np.empty(len(rows), np.int64)
        back[np.concatenate(pieces)] = np.arange(len(rows))
        return vectors[torch.from_numpy(back).to(vectors.device)]

    def forward(self, rows: Rows, *, hidden: int | None = None) -> Tensor:
        """Return the vectors (n, d) of token ids in one pass; the token ``hidden`` is never attended to."""
        padded = self.tokenizer.rectangle(rows)
        tokens, kept = (torch.tensor(part, device=self.device) for part in padded)
        if hidden is not None:
            kept = kept * (tokens != hidden)
        given = {"input_ids": tokens, "attention_mask": kept}
        if (kinds := self.token_types(*padded)) is not None:
            given["token_type_ids"] = torch.tensor(kinds, device=self.device)
        with autocast(self.device.type, self.dtype if self.model.training else "float32"):
            output = self.model(**accepted(self.model, {**given, "output_hidden_states": True}))
        positions = (tokens == self.tokenizer.mask_id).int().argmax(1) if self.read == "mask" else None
        pooler = getattr(output, "pooler_output", None)
        read = states(output, tokens.shape[1])
        reasons = lacking(read, [self.read], pooler=pooler is not None)
        if reasons:
            raise HengyuError(f"pooling '{self.read}' is not available: {reasons[self.read]}")
        layers = [None if layer is None else layer.float() for layer in read]
        last = layers[-1]
        weights = None if self.attention is None or last is None else self.attention.weights(last, kept)
        found = pool(layers, kept, [self.read], pooler=pooler, positions=positions, weights=weights)[self.read].float()
        return found if self.layer is None else self.layer(found)

    def token_types(self, rows: Rows, kept: Rows) -> list[list[int]] | None:
        """Return the token types of padded rows with the mask ``kept``; None if the tokenizer gives none."""
        return self.tokenizer.types(rows, kept)

    def vectors(self, rows: Rows) -> NDArray[np.float32]:
        """Return the vectors (n, d) of token ids as in the evaluation: no dropout, no gradients."""
        self.model.eval()
        with torch.no_grad():
            out: NDArray[np.float32] = self.embed(rows).cpu().numpy()
        self.model.train()
        return out

    def take(self, variant: str) -> None:
        """Take the weights of one of the variants into the model."""
        with torch.no_grad():
            for name, value in self.variants[variant].items():
                self.model.get_parameter(name).copy_(value)

    def save(self, folder: Path, about: str) -> None:
        """Write a sentence-transformers folder: weights as safetensors, tokenizer, pooling, and a README."""
        source = self.encoder.folder
        for key, value in self._plain.items():
            setattr(self.model.config, key, value)
        weights = {
            name: value.contiguous()
            for name, value in self.model.state_dict().items()
            if source.has_pooler or "pooler" not in name
        }
        self.model.eval().save_pretrained(folder, state_dict=weights, safe_serialization=True)
        if self.tokenizer.added:
            self.tokenizer.save(folder)
        for path in sorted(source.transformer.iterdir()):
            if path.suffix in _BESIDE and path.name not in _NOT_BESIDE and not (folder / path.name).exists():
                shutil.copyfile(path, folder / path.name)
        prompts = source.path / "config_sentence_transformers.json"
        if prompts.is_file():
            shutil.copyfile(prompts, folder / prompts.name)
        write_modules(
            folder,
            width=int(self.model.config.hidden_size),
            pooling=self.read if self.read in LIBRARY_POOLINGS else "mean",
            length=source.max_length,
            lowercase=source.lowercase,
            transformer=MODULE if code_of(source.config) else TRANSFORMER,
        )
        if self.token_weights is not None:
            write_word_weights(folder, self.tokenizer.words(len(self.token_weights)), self.token_weights.tolist())
        if self.attention is not None:
            write_attention(folder, self.attention)
        if self.layer is not None:
            write_dense(folder, self.layer)
        if self.read not in LIBRARY_POOLINGS:
            about += f"\nTrained for the pooling '{self.read}', which sentence-transformers does not have.\n"
        if self.tokenizer.added:
            about += f"\nTokens {' '.join(self.tokenizer.added)} were learned: its prompt is `{self.tokenizer.folder.prompt}`.\n"
        (folder / "README.md").write_text(about, encoding="utf-8")
