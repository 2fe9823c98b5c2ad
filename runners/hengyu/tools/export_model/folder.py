"""Writes a pipeline as a sentence-transformers folder, atomically and only after a check of its vectors."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hengyu.base.errors import HengyuError
from hengyu.methods.base import Transform
from hengyu.methods.transforms.l2 import L2
from hengyu.numerics.affine import Affine, affine_of
from hengyu.storage.tuned import ABOUT
from hengyu.tools.export_model.fitted import Fitted, FittedScorer
from hengyu.tools.export_model.pooled import pooled
from hengyu.tools.export_model.row import Choice
from hengyu.tools.export_model.state import state_of
from hengyu.tools.export_model.template import prefix

__all__ = ["Written", "refuse_occupied", "write_folder", "write_scorer"]

_PROBED = 256  # sentences of the task on which the folder is checked
_FAR = 1e-3  # of a vector's length; float32 and padding give about 1e-6, and 1e-4 if whitening divides by tiny values


@dataclass(frozen=True)
class Written:
    """An exported folder."""

    path: Path
    modules: tuple[str, ...]  # class names in order
    own: bool  # whether a module is hengyu's, so that loading needs hengyu and trust_remote_code
    probed: int  # number of sentences checked
    error: float  # the largest distance between its vectors and ours (for codes the median), relative to the length


def refuse_occupied(out: Path, *, force: bool) -> None:
    """Raise `HengyuError` if the folder exists, unless it is a model's folder and ``force`` is given."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not force:
        raise HengyuError(f"{out}: already exists; give another --out, or --force to replace it")
    if not (out / "modules.json").is_file():
        raise HengyuError(
            f"{out}: is not a sentence-transformers folder, so --force does not replace it; give another --out"
        )


def write_folder(
    fitted: Fitted, choice: Choice, out: Path, card: Callable[[Written], str], *, force: bool = False
) -> Written:
    """Write the pipeline to ``out``, with its model card; raises `HengyuError` if it does not give the run's vectors."""
    refuse_occupied(out, force=force)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as e:
        raise HengyuError(f"{out}: cannot be written ({e.strerror or e}); check permissions") from None
    try:
        written = _write(fitted, choice, part)
        (part / "README.md").write_text(card(written), encoding="utf-8")
        part.chmod(0o755)
        if out.exists():
            shutil.rmtree(out)
        part.replace(out)
    except OSError as e:
        raise HengyuError(
            f"{out}: cannot be written ({e.strerror or e}); free some space or check permissions"
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Written(out, written.modules, written.own, written.probed, written.error)


def write_scorer(fitted: FittedScorer, out: Path, card: str, *, force: bool = False) -> Written:
    """Write a trained cross-encoder to ``out``, with its model card; raises `HengyuError` if it does not give the run's scores."""
    from hengyu.encoders import EncoderSpec
    from hengyu.encoders.cross import LAYERED, open_cross_encoder

    refuse_occupied(out, force=force)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as around:
            part = Path(around) / "model"
            shutil.copytree(fitted.folder, part, ignore=shutil.ignore_patterns(ABOUT, "README.md"))
            (part / "README.md").write_text(card, encoding="utf-8")
            some = fitted.pairs[:_PROBED]
            found = np.empty(len(some))
            opened = open_cross_encoder(EncoderSpec(str(part), device="cpu"))
            for at, scores in opened.stream([a for a, _ in some], [b for _, b in some]):
                found[at] = scores
            error = float(np.abs(found - fitted.scores[: len(some)]).max())
            if error > _FAR:
                raise HengyuError(
                    f"{out}: the exported cross-encoder's scores are up to {error:.1e} away from the run's, so it is not "
                    "written; export it with the versions of the run"
                )
            if out.exists():
                shutil.rmtree(out)
            part.replace(out)
    except OSError as e:
        raise HengyuError(
            f"{out}: cannot be written ({e.strerror or e}); free some space or check permissions"
        ) from None
    return Written(out, tuple(LAYERED), False, len(some), error)


def _write(fitted: Fitted, choice: Choice, folder: Path) -> Written:
    import transformers
    from sentence_transformers import SentenceTransformer

    transformers.utils.logging.disable_progress_bar()
    modules = pooled(fitted.encoder, fitted.pooling)
    modules += _steps(fitted.methods, fitted.steps, fitted.width)
    prompt = prefix(fitted.encoder)
    named: dict[str, Any] = {"prompts": {"hengyu": prompt}, "default_prompt_name": "hengyu"} if prompt else {}
    model = SentenceTransformer(modules=modules, device="cpu", similarity_fn_name=choice.similarity, **named)
    model.save_pretrained(str(folder), safe_serialization=True, create_model_card=False)
    foreign = any(type(m).__module__.startswith("hengyu.") for m in modules)
    loaded = SentenceTransformer(str(folder), device="cpu", local_files_only=True, trust_remote_code=foreign)
    places = np.linspace(0, len(fitted.texts) - 1, min(_PROBED, len(fitted.texts))).astype(int)
    theirs = loaded.encode([fitted.texts[i] for i in places], show_progress_bar=False)
    far = _distances(np.asarray(theirs, np.float64), np.asarray(fitted.vectors[places], np.float64))
    # float32 rounding can move a value across the border between two codes
    coded = any(hasattr(m, "bytes_per_vector") for m in fitted.methods)
    error = float(np.median(far) if coded else far.max())
    if not error <= _FAR:
        raise HengyuError(
            f"row '{' | '.join(choice.row)}': with sentence-transformers the folder gives different vectors than the run (by "
            f"{error:.1g} of their length), so it is not written; this encoder cannot be exported"
        )
    return Written(folder, tuple(type(m).__name__ for m in modules), foreign, len(places), error)


def _distances(theirs: Any, ours: Any) -> Any:
    """Return the distance (n,) between two vectors of each text, relative to the length of ours."""
    if theirs.shape != ours.shape:
        return np.full(len(ours), np.inf)
    length = np.linalg.norm(ours, axis=1)
    return np.linalg.norm(theirs - ours, axis=1) / np.where(length > 0, length, 1.0)


def _steps(methods: Sequence[Transform], names: Sequence[str], width: int) -> list[Any]:
    """Return the modules of the steps; consecutive affine steps become one dense layer."""
    from hengyu.tools.export_model.library import Normalize

    modules: list[Any] = []
    chain: Affine | None = None
    for method, name in zip(methods, names, strict=True):
        affine = affine_of(method, width)
        if affine is not None:
            chain = affine if chain is None else chain.then(affine)
            width = affine.weight.shape[1]
            continue
        modules += _dense(chain)
        chain = None
        if isinstance(method, L2):
            modules.append(Normalize())
            continue
        from hengyu.tools.export_model.steps import Step

        width = int(np.asarray(method(np.zeros((1, width), np.float32))).shape[1])
        modules.append(Step(name, state_of(method, name), width))
    return modules + _dense(chain)


def _dense(chain: Affine | None) -> list[Any]:
    """Return an affine map as a dense layer; nothing for None and for the identity."""
    import torch

    from hengyu.tools.export_model.library import Dense

    if chain is None:
        return []
    width, out = chain.weight.shape
    if width == out and not chain.bias.any() and np.array_equal(chain.weight, np.eye(width)):
        return []
    weight, bias = (torch.from_numpy(np.ascontiguousarray(a, np.float32)) for a in (chain.weight.T, chain.bias))
    return [Dense(width, out, activation_function=torch.nn.Identity(), init_weight=weight, init_bias=bias)]
