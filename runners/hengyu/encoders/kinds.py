"""Kinds of model: which have a vector for a text, and what the others are called."""

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
"""The last words of types of modules that only other kinds of model have; a Dense counts outside of the library alone."""


def is_cross_encoder(folder: FolderView) -> bool:
    """Whether it is a reranker: a model of one score for a pair of texts, with no vectors of its own."""
    if folder.settings.get("model_type") == "CrossEncoder" or any(p.name in CROSS for p in folder.parts):
        return True
    if any(folder.sentence_config_of(p).get("transformer_task") == "sequence-classification" for p in folder.parts):
        return True
    return not folder.parts and folder.architecture.endswith("ForSequenceClassification") and labels_of(folder) == 1


def labels_of(folder: FolderView) -> int:
    """How many numbers a classification head gives."""
    for key in ("num_labels", "id2label", "label2id"):
        value = folder.config.get(key)
        if isinstance(value, dict):
            return len(value)
        if isinstance(value, int):
            return value
    return 2  # as transformers has it


def other_kind(folder: FolderView) -> str:
    """What the model is where it is no encoder of single texts into dense vectors, "" where it is one."""
    names: Sequence[str] = [part.name for part in folder.walk()]
    if folder.settings.get("model_type") == "SparseEncoder" or any(n in SPARSE for n in names):
        return (
            "is a sparse model (SPLADE): its vectors have a column for each token of the vocabulary, and Hengyu evaluates "
            "dense vectors only; give a dense model"
        )
    late = folder.settings.get("model_type") in ("MultiVectorEncoder", "ColBERT") or any(
        part.name in LATE and not part.kind for part in folder.walk()
    )
    if late:
        return (
            "is a late-interaction model (ColBERT): it has a vector for each token, and Hengyu evaluates one vector for "
            "each text; give a model with a pooling"
        )
    if folder.is_cross_encoder:
        return (
            "is a cross-encoder (a reranker): it scores a pair of texts and has no vectors for a single one; give it with "
            "--cross-encoder (cross_encoders in a suite), or give an encoder"
        )
    return ""


def refuse_other_kinds(folder: FolderView) -> None:
    """Raise `HengyuError` for a model that is no encoder of single texts, and for what can be known to fail later."""
    if folder.other_kind:
        raise HengyuError(f"{folder.where}: {folder.other_kind}")
    if folder.custom:
        return
    first, last = folder.pipeline[0], folder.pipeline[-1]
    if not first.takes_text:
        raise HengyuError(
            f"{folder.path / 'modules.json'}: the first module is {first.name}, which takes no texts; get the model again"
        )
    if folder.parts and not _gives_vectors(folder):
        raise HengyuError(
            f"{folder.path / 'modules.json'}: ends with {last.name} and holds no Pooling: it has a vector for each token and "
            "none for a text, as late-interaction models (ColBERT) do; add a Pooling module, or give a dense model"
        )
    _refuse_unroutable(folder)
    _refuse_sentencepiece(folder)
    _ = folder.config, folder.sentence_config, folder.tokenizer_config, folder.prompt, folder.truncate_dim


def _gives_vectors(folder: FolderView) -> bool:
    """Whether some module makes one vector of a text's tokens."""
    done = ("Pooling", "StaticEmbedding", "BoW")
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
                f"{folder.where}: is a Router without a default route, so that a text takes none of "
                f"{', '.join(sorted(part.routes))}; set default_route in its router_config.json"
            )
        if default is not None and (not isinstance(default, str) or default not in part.routes):
            raise HengyuError(
                f"{folder.path / part.inside}: the Router's default_route {shown(default)} is none of its routes "
                f"{', '.join(sorted(part.routes))}; get the model again"
            )


def _refuse_sentencepiece(folder: FolderView) -> None:
    """Name the package that a tokenizer without tokenizer.json needs, before the library guesses at another."""
    if folder.static or find_spec("sentencepiece") is not None:
        return
    names = {p.name for p in folder.tokenizer.iterdir()}
    pieces = sorted(n for n in names if n.endswith((".model", ".spm")))
    if pieces and not names & {"tokenizer.json", "vocab.txt", "vocab.json", "tekken.json"}:
        raise HengyuError(
            f"{folder.where}: its tokenizer is {pieces[0]} alone, which needs the package sentencepiece; run: pip install "
            "sentencepiece"
        )
