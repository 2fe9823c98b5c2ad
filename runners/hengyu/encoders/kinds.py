"""Kinds of model: which give one vector per text, and what the others are."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from hengyu.base.errors import HengyuError
from hengyu.encoders.files import shown
from hengyu.encoders.folder_view import FolderView

__all__ = ["CROSS", "LATE", "SPARSE", "is_cross_encoder", "labels_of", "other_kind", "refuse_other_kinds"]

SPARSE = ("SpladePooling", "MLMTransformer", "SparseAutoEncoder", "CSRSparsity", "SparseStaticEmbedding", "IDF")
LATE = ("MultiVectorMask", "TokenPooling", "ColBERT", "Dense")
CROSS = ("LogitScore",)
"""Class names of modules that only other kinds of model have; Dense counts only if it is not the library's."""


def is_cross_encoder(folder: FolderView) -> bool:
    """Whether it is a reranker: a model that scores pairs of texts and has no vectors."""
    if folder.settings.get("model_type") == "CrossEncoder" or any(p.name in CROSS for p in folder.parts):
        return True
    if any(folder.sentence_config_of(p).get("transformer_task") == "sequence-classification" for p in folder.parts):
        return True
    return not folder.parts and folder.architecture.endswith("ForSequenceClassification") and labels_of(folder) == 1


def labels_of(folder: FolderView) -> int:
    """The number of outputs of a classification head."""
    for key in ("num_labels", "id2label", "label2id"):
        value = folder.config.get(key)
        if isinstance(value, dict):
            return len(value)
        if isinstance(value, int):
            return value
    return 2  # transformers' default


def other_kind(folder: FolderView) -> str:
    """What a model is if it does not encode single texts into dense vectors, else ""."""
    names: Sequence[str] = [part.name for part in folder.walk()]
    if folder.settings.get("model_type") == "SparseEncoder" or any(n in SPARSE for n in names):
        return (
            "is a sparse model (SPLADE): its vectors have a column for each token of the vocabulary, but Hengyu evaluates "
            "dense vectors only; give a dense model"
        )
    late = folder.settings.get("model_type") in ("MultiVectorEncoder", "ColBERT") or any(
        part.name in LATE and not part.kind for part in folder.walk()
    )
    if late:
        return (
            "is a late-interaction model (ColBERT): it has a vector for each token, but Hengyu evaluates one vector for "
            "each text; give a model with a pooling"
        )
    if folder.is_cross_encoder:
        return (
            "is a cross-encoder (a reranker): it scores pairs of texts and has no vectors for single ones; give it with "
            "--cross-encoder (cross_encoders in a suite), or give an encoder"
        )
    return ""


def refuse_other_kinds(folder: FolderView) -> None:
    """Raise `HengyuError` if a model does not encode single texts, or is certain to fail later."""
    if folder.other_kind:
        raise HengyuError(f"{folder.where}: {folder.other_kind}")
    if folder.custom:
        return
    first, last = folder.pipeline[0], folder.pipeline[-1]
    if not first.takes_text:
        raise HengyuError(
            f"{folder.path / 'modules.json'}: the first module is {first.name}, which does not accept texts; get the model again"
        )
    if folder.parts and not _gives_vectors(folder):
        raise HengyuError(
            f"{folder.path / 'modules.json'}: ends with {last.name} and has no Pooling: it gives a vector for each token and "
            "none for a text, like late-interaction models (ColBERT); add a Pooling module, or give a dense model"
        )
    _refuse_unroutable(folder)
    _refuse_sentencepiece(folder)
    _ = folder.config, folder.sentence_config, folder.tokenizer_config, folder.prompt, folder.truncate_dim


def _gives_vectors(folder: FolderView) -> bool:
    """Whether some module combines a text's tokens into one vector."""
    done = ("Pooling", "StaticEmbedding", "Ngrams", "BoW")
    return any(part.kind in done for part in folder.walk()) or any(
        isinstance(v, dict) or v == "sentence_embedding"
        for part in folder.walk()
        for v in (folder.sentence_config_of(part).get("module_output_name"),)
    )


def _refuse_unroutable(folder: FolderView) -> None:
    for part in folder.pipeline:
        if part.kind != "Router":
            continue
        default = part.parameters.get("default_route")
        empty = part.parameters.get("allow_empty_key", True)
        if default is None and empty is not True:
            raise HengyuError(
                f"{folder.where}: is a Router without a default route, so texts take none of "
                f"{', '.join(sorted(part.routes))}; set default_route in its router_config.json"
            )
        if default is not None and (not isinstance(default, str) or default not in part.routes):
            raise HengyuError(
                f"{folder.path / part.inside}: the Router's default_route {shown(default)} is not one of its routes "
                f"{', '.join(sorted(part.routes))}; get the model again"
            )


def _refuse_sentencepiece(folder: FolderView) -> None:
    """Name the package that a tokenizer without tokenizer.json needs, before the library names a wrong one."""
    if folder.static or find_spec("sentencepiece") is not None:
        return
    names = {p.name for p in folder.tokenizer.iterdir()}
    pieces = sorted(n for n in names if n.endswith((".model", ".spm")))
    if pieces and not names & {"tokenizer.json", "vocab.txt", "vocab.json", "tekken.json"}:
        raise HengyuError(
            f"{folder.where}: its tokenizer is only {pieces[0]}, which needs the package sentencepiece; run: pip install "
            "sentencepiece"
        )
