"""Cross-encoders: models that read a pair of texts together and give one score; there are no vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError, first_line
from hengyu.encoders import EncoderFailed, EncoderSpec, token_print
from hengyu.encoders.foreign import ACTIVATIONS
from hengyu.encoders.hub import find_folder
from hengyu.encoders.kinds import CROSS, labels_of
from hengyu.encoders.model_folder import ModelFolder
from hengyu.encoders.without_attention import code_of

__all__ = ["LAYERED", "CrossEncoder", "open_cross_encoder"]

LAYERED = ["Transformer", "Pooling", "Dense"]
"""The modules of a cross-encoder whose score is a layer on a pooled vector, such as `hengyu export-model` writes."""

_BATCH = 32
_HEAD = "ForSequenceClassification"
_UNFIT = ("prompt", "query_prompt", "document_prompt", "pre_tokenizer", "attention", "long", "texts", "api")
_ACTIVATION = "activation_fn"
_OLD_ACTIVATION = "sbert_ce_default_activation_function"  # before sentence-transformers 4


def open_cross_encoder(spec: EncoderSpec, *, offline: bool = False) -> CrossEncoder:
    """Return the cross-encoder of a folder or hub id.

    Its folder must follow the same rules as an encoder's: only safetensors, and no code without permission.
    Raises `HengyuError` if it is not a cross-encoder.
    """
    where = f"cross-encoder '{spec.display_name}'"
    for key in _UNFIT:
        if getattr(spec, key) not in ("", None):
            raise HengyuError(f"{where}: {key} does not apply to a cross-encoder; remove it")
    if spec.backend != "torch":
        raise HengyuError(f"{where}: backend does not apply to a cross-encoder; remove it")
    try:
        path, revision = find_folder(spec, offline=offline)
        folder = ModelFolder(path, spec, identifier=spec.display_name, revision=revision, offline=offline)
    except HengyuError as e:
        raise HengyuError(*map(_called, e.problems)) from None
    folder.where = f"cross-encoder '{folder.id}' ({path})"
    return CrossEncoder(folder)


def _called(problem: str) -> str:
    """Reword a message about an encoder for a cross-encoder."""
    own = f"cross-{problem}" if problem.startswith("encoder '") else problem
    return own.replace(", or vectors (.npy)", "").replace("AutoModel.", "AutoModelForSequenceClassification.")


class CrossEncoder:
    """A transformer with a one-label classification head, or a pooling and a layer, as sentence-transformers' ``CrossEncoder``.

    Pairs of equal token length share a batch, so there is no padding, and a score hardly depends on other pairs.
    """

    def __init__(self, folder: ModelFolder) -> None:
        self.folder = folder
        self.spec = folder.spec
        self.id = folder.id
        self._refuse_others()
        _ = self._activation, self.folder.max_length

    def _refuse_others(self) -> None:
        """Raise `HengyuError` for a model that does not give one score per pair, or in an unsupported way."""
        folder = self.folder
        if self.spec.dtype == "int8":
            raise HengyuError(f"{folder.where}: a cross-encoder is not computed in int8; remove dtype, or use bfloat16")
        if any(part.name in CROSS for part in folder.parts):
            raise HengyuError(
                f"{folder.where}: scores by a language model's next token (LogitScore), which Hengyu does not "
                "support; give a cross-encoder with a classification head"
            )
        head = folder.is_cross_encoder or (not folder.parts and folder.architecture.endswith(_HEAD))
        if not head:
            raise HengyuError(
                f"{folder.where}: is not a cross-encoder, its config.json names no {_HEAD}; give an encoder with --encoder"
            )
        kinds = [p.kind for p in folder.pipeline]
        if folder.custom or folder.adapter or (kinds != ["Transformer"] and kinds != LAYERED):
            raise HengyuError(
                f"{folder.where}: has more than a transformer with a classification head; merge an adapter into its "
                "base, and save the model without other modules"
            )
        if self._labels != 1:
            raise HengyuError(
                f"{folder.where}: gives {self._labels} numbers for a pair, like a classifier; a cross-encoder "
                "gives one score (num_labels = 1)"
            )

    @property
    def revision(self) -> str:
        """The hub revision the weights are of; "" for a folder."""
        return self.folder.revision

    @property
    def made_with(self) -> tuple[str, ...]:
        """The modules, besides this class's, whose code makes the scores: that of a model of our own in its folder."""
        return code_of(self.folder.config)

    @property
    def _labels(self) -> int:
        """How many numbers it gives for a pair: those of its classification head, or of the layer behind a pooling."""
        parts = self.folder.pipeline
        if len(parts) == 1:
            return labels_of(self.folder)
        size = parts[-1].config.get("out_features")
        return size if isinstance(size, int) else 0

    @property
    def gives_probabilities(self) -> bool:
        """Whether scores pass through a sigmoid."""
        return self._activation.endswith(".Sigmoid")

    @cached_property
    def _activation(self) -> str:
        """The torch.nn class applied to the logit, as named in the folder; by default the sigmoid."""
        folder = self.folder
        named = folder.config.get("sentence_transformers")
        found = named.get(_ACTIVATION) if isinstance(named, dict) else None
        found = found or folder.config.get(_OLD_ACTIVATION) or folder.settings.get(_ACTIVATION)
        if found is None:
            return "torch.nn.modules.activation.Sigmoid"
        if not isinstance(found, str) or found not in ACTIVATIONS:
            raise HengyuError(
                f"{folder.where}: names the activation function {str(found)[:80]}, which is not one of the supported "
                "classes of torch.nn; refused"
            )
        return found

    def identity(self) -> dict[str, Any]:
        """What the scores depend on besides the texts."""
        return {
            "fingerprint": self.folder.fingerprint,
            "tokens": token_print(lambda texts: [self._tokenizer(t)["input_ids"] for t in texts]),
            "max_length": self.folder.max_length,
            "dtype": self.spec.dtype,
            "prompt": self.folder.default_prompt,
            "activation": self._activation,
            "trusted": self.spec.trust_remote_code,
        }

    @cached_property
    def _tokenizer(self) -> Any:
        from hengyu.encoders.pipeline import load_tokenizer

        try:
            return load_tokenizer(self.folder)
        except Exception as e:
            raise HengyuError(
                f"{self.folder.where}: its tokenizer cannot be loaded ({first_line(e)}); get the model again"
            ) from None

    @cached_property
    def _library(self) -> Any:
        import torch

        from hengyu.encoders.pipeline import build_cross_encoder

        function = getattr(torch.nn, self._activation.rsplit(".", 1)[-1])()
        device = self.spec.device or ("cuda" if torch.cuda.is_available() else "cpu")
        model = build_cross_encoder(self.folder, getattr(torch, self.spec.dtype), device, function)
        if self.spec.max_length:
            model.max_seq_length = self.folder.max_length
        return model

    def stream(self, first: Sequence[str], second: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        """Score n pairs of texts in batches; yields pair numbers (k,) and their scores (k,) in float64.

        Raises `EncoderFailed` if the model fails or gives a non-finite score.
        """
        try:
            model = self._library
            rows = model.preprocess(
                [[a, b] for a, b in zip(first, second, strict=True)], prompt=model._resolve_prompt(None, None)
            )
            lengths = np.asarray(rows["attention_mask"].sum(dim=1).cpu())
            size = _BATCH if model.transformers_model.config.pad_token_id is not None else 1
            order = np.argsort(-lengths, kind="stable")
            start = 0
            while start < len(order):
                batch = order[start : start + size]
                batch = batch[lengths[batch] == lengths[batch[0]]]
                start += len(batch)
                pairs = [[first[i], second[i]] for i in batch]
                scores = np.asarray(model.predict(pairs, batch_size=size, show_progress_bar=False), np.float64)
                if scores.shape != (len(batch),):
                    raise HengyuError(
                        f"{self.folder.where}: gives scores of shape {scores.shape} for {len(batch)} pairs"
                    )
                if not np.isfinite(scores).all():
                    at = batch[int((~np.isfinite(scores)).argmax())]
                    raise HengyuError(
                        f"{self.folder.where}: the score of the pair '{first[at][:30]}', '{second[at][:30]}' is not finite; "
                        "check the model's weights, and run it in float32"
                    )
                yield batch.astype(np.int64), scores
        except HengyuError as e:
            raise EncoderFailed(*e.problems) from None
        except Exception as e:  # whatever the model's code raises
            raise EncoderFailed(
                f"{self.folder.where}: cannot score pairs ({type(e).__name__}: {first_line(e)[:200]})"
            ) from None

    def release(self) -> None:
        """Free the model's memory."""
        self.__dict__.pop("_library", None)
