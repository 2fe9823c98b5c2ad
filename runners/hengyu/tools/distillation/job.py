"""A distillation from corpus and teacher to folder: the work is done in a temporary folder, which is renamed when complete."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError
from hengyu.base.json_files import read_json, write_bytes, write_json
from hengyu.base.progress import Progress, silent
from hengyu.base.version import __version__
from hengyu.encoders import Encoder, EncoderSpec, find_encoder, open_encoder
from hengyu.encoders.huggingface import HuggingFace
from hengyu.numerics.imitation import Space, fit_space, ridge, turned
from hengyu.storage.identity import digest
from hengyu.storage.vectors import VectorStore
from hengyu.tools.distillation.card import Licences, card
from hengyu.tools.distillation.contamination import Contamination, check, evaluation_texts
from hengyu.tools.distillation.recipe import Distillation
from hengyu.tools.distillation.targets import load_space, save_space, taught, teach
from hengyu.tools.pretraining.checkpoint import CHECKPOINT
from hengyu.tools.pretraining.corpus import read_corpus
from hengyu.tools.pretraining.work import PART, begun, refuse_foreign, refuse_other

__all__ = ["ABOUT", "Outcome", "distill"]

ABOUT = "distillation.json"
_SPACE = "targets.safetensors"
_OTHERWISE = ("a distillation", "another teacher, corpus or start, or other excluded tasks")
_REMEDY = "delete the folder, or give another --out"
_FITTED = 50_000  # lines that the space of the targets is fitted on
_BEGUN = 12_000  # lines that the start is fitted on
_SHORT = 40  # tokens of such a line, at most

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Outcome:
    """The result of a distillation."""

    folder: Path
    new: bool  # False if it already existed
    about: dict[str, Any]  # distillation.json


@dataclass
class _Lines:
    """The lines of a distillation: the first ``held`` of them are held out."""

    texts: list[str]
    held: int
    untaught: int  # lines without a vector of the teacher, left out
    contamination: Contamination
    corpus: dict[str, Any] = field(default_factory=dict)


def distill(
    teacher: EncoderSpec,
    files: Sequence[Path],
    out: Path,
    recipe: Distillation,
    *,
    start: str = "",
    pooling: str = "",
    exclude: Sequence[str] = (),
    exclude_near: bool = False,
    centre: Path | None = None,
    data: Path | None = None,
    datasets: Sequence[Path] = (),
    store: VectorStore | None = None,
    dtype: str = "",
    threads: int = 1,
    device: str = "cpu",
    offline: bool = False,
    licences: Licences | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Train a small encoder to give the teacher's vectors and write ``out``, a folder; an interrupted one continues.

    Work in progress is in ``out`` + ".part", and the teacher's vectors in the store. With the same teacher, files and recipe a
    finished folder is left unchanged.

    Args:
        teacher: the encoder to imitate: a model, an API, or precomputed vectors; then lines without a vector are left out.
        files: text files of one sentence per line.
        out: the folder to write.
        recipe: the parameters.
        start: the BERT to start from; "" for random weights.
        pooling: the teacher's pooling, by default native.
        exclude: tasks; lines that equal one of their sentences, ignoring punctuation, width and case, are left out.
        exclude_near: leave out near duplicates of those sentences, too; otherwise they are counted.
        centre: a text file; the mean of the trained student's vectors of its lines is subtracted from all its vectors.
        data: the folder of the tasks' files.
        datasets: folders of further cards.
        store: the store of the teacher's vectors.
        dtype: of the matrix products, "" for the faster one.
        threads: of the training.
        device: of the training.
        offline: never use the network.
        licences: what the card says of them.
        progress: what it says.

    Raises:
        HengyuError: for unreadable files, too small a corpus, a start that is no BERT, and folders with other content.
    """
    if out.name in ("", ".."):
        out = out.resolve()
    refuse_foreign(out, ABOUT)
    if start and recipe.student == "static":
        raise HengyuError("--start is for a BERT; a static student starts from its n-grams: remove one of the two")
    part = out.with_name(out.name + PART)
    store = store or VectorStore.default()
    encoder = find_encoder(teacher, offline=offline)
    pooling = pooling or "native"
    if encoder.poolings.get(pooling, "is unknown"):
        raise HengyuError(
            f"encoder '{encoder.id}': pooling '{pooling}' is not available: {encoder.poolings.get(pooling)}"
        )
    begun_from = _start_of(start)
    lines = _read(files, encoder, recipe, exclude, exclude_near, data, datasets, progress)
    encoder.prepare(store, lines.texts, progress)
    centred = None if centre is None else read_corpus([centre], held_out=0, seed=0)
    goal = {
        "recipe": recipe.parameters(),
        "corpus": lines.corpus,
        "teacher": {"encoder": encoder.id, "pooling": pooling, **encoder.identity()},
        "start": begun_from,
        "contamination": {**lines.contamination.about(), "near_excluded": exclude_near},
        "centred_on": [] if centred is None else centred.about()["files"],
    }
    if (out / ABOUT).is_file():
        about = read_json(out / ABOUT, dict[str, Any], _REMEDY)
        refuse_other(out, about, goal, *_OTHERWISE)
        _clean(out)
        return Outcome(out, False, about)
    if begun(part, ABOUT):
        refuse_other(part, read_json(part / ABOUT, dict[str, Any], _REMEDY), goal, *_OTHERWISE)
    else:
        write_json(part / ABOUT, {**goal, "goal": digest(goal)})
    work = _Work(part, recipe, lines, encoder, pooling, store, progress, goal, start, centred.lines if centred else [])
    about = work.run(dtype=dtype, threads=threads, device=device, licences=licences or Licences())
    try:
        part.replace(out)
        _clean(out)
    except OSError as e:
        raise HengyuError(
            f"{out}: cannot be written ({e.strerror or e}); check it and run the same command again"
        ) from None
    return Outcome(out, True, about)


def _clean(folder: Path) -> None:
    for name in (CHECKPOINT, _SPACE):
        (folder / name).unlink(missing_ok=True)


def _read(
    files: Sequence[Path],
    encoder: Encoder,
    recipe: Distillation,
    exclude: Sequence[str],
    exclude_near: bool,
    data: Path | None,
    datasets: Sequence[Path],
    progress: Progress,
) -> _Lines:
    """Read the corpus, leave out what has no vector and what is an evaluation sentence, and hold some lines out."""
    sentences = evaluation_texts(exclude, data, datasets)
    corpus = read_corpus(files, held_out=0, seed=recipe.seed)
    known = taught(encoder, corpus.lines)
    texts = [line for line, there in zip(corpus.lines, known, strict=True) if there]
    if not texts:
        raise HengyuError(
            f"encoder '{encoder.id}': has no vector for any line of the corpus; give the corpus that it was made of"
        )
    found, senses = check(texts, sentences, progress)
    unwanted = {"exact", "normalised", *(["near"] if exclude_near else [])}
    kept = [text for text, sense in zip(texts, senses, strict=True) if sense not in unwanted]
    progress.say(
        f"{len(corpus.sources)} files, {len(corpus.lines):,} lines, {len(kept):,} used: {len(corpus.lines) - len(texts):,} have no "
        f"vector, {len(texts) - len(kept):,} are excluded as evaluation sentences"
    )
    about = {**corpus.about(), "untaught": len(corpus.lines) - len(texts), "used": len(kept)}
    return _Lines(kept, min(recipe.held_out, len(kept) // 10), len(corpus.lines) - len(texts), found, about)


def _start_of(start: str) -> str:
    """Return the fingerprint of the encoder to start from, "" for none; raises `HengyuError` unless it is a BERT."""
    return _opened(start).folder.fingerprint if start else ""


def _opened(start: str) -> HuggingFace:
    """Return the encoder to start from; raises `HengyuError` unless it is a BERT."""
    encoder = open_encoder(EncoderSpec(start), offline=True)
    kind = encoder.folder.config.get("model_type")
    if encoder.folder.static or kind != "bert":
        raise HengyuError(
            f"{encoder.folder.where}: the start must be a BERT, not {kind or 'a static model'}; give another --start, or none"
        )
    return encoder


@dataclass
class _Work:
    """What is done in the temporary folder."""

    part: Path
    recipe: Distillation
    lines: _Lines
    encoder: Encoder
    pooling: str
    store: VectorStore
    say: Progress
    goal: dict[str, Any]
    start: str
    centre: list[str]

    def run(self, *, dtype: str, threads: int, device: str, licences: Licences) -> dict[str, Any]:
        """Train in the folder and write the finished model there; returns distillation.json."""
        from hengyu.tools.distillation.loop import train
        from hengyu.tools.pretraining.loop import reproducible

        space = self._fitted()
        with reproducible(threads):
            student = self._student(space.axes.shape[1])
            try:
                student = student.to(device)
            except (RuntimeError, AssertionError) as e:
                raise HengyuError(
                    f"device '{device}' cannot be used here ({str(e)[:80]}); use cpu, or remove it"
                ) from None
            space = self._begin(student, space)
            targets = self._targets(space)
            held = np.arange(self.lines.held)
            trained = train(
                student, targets, held, self.recipe, self.part / CHECKPOINT, dtype=dtype, threads=threads, progress=self.say
            )  # fmt: skip
        about = {
            **self.goal,
            "goal": digest(self.goal),
            "hengyu": __version__,
            "shape": student.about(),
            "variance_kept": round(space.kept, 5),
            "held_out_lines": self.lines.held,
            "texts": trained.texts,
            "steps": trained.step,
            "curve": trained.curve,
            "legs": trained.legs,
        }
        student = student.cpu()
        if self.centre:
            student.centre(self.centre)
        student.write(self.part)
        write_bytes(self.part / "README.md", card(about, trained.seconds, licences).encode())
        write_json(self.part / ABOUT, about)
        return about

    def _fitted(self) -> Space:
        """Return the centring and the axes of the targets; a training that goes on reads them."""
        if (self.part / CHECKPOINT).is_file() and (self.part / _SPACE).is_file():
            return load_space(self.part / _SPACE)
        some = self.lines.texts[self.lines.held :][:_FITTED]
        x = np.concatenate(list(teach(self.encoder, self.pooling, some, self.store, self.say)))
        width = x.shape[1] if self.recipe.head else self.recipe.width
        if self.start and not self.recipe.head:
            width = _opened(self.start).folder.config["hidden_size"]
        return fit_space(x, width)

    def _targets(self, space: Space) -> NDArray[np.float16]:
        """Return the targets of all lines (n, k), of length 1."""
        found = np.empty((len(self.lines.texts), space.axes.shape[1]), np.float16)
        at = 0
        for block in teach(self.encoder, self.pooling, self.lines.texts, self.store, self.say):
            found[at : at + len(block)] = space(block)
            at += len(block)
        return found

    def _student(self, width: int) -> Any:
        """Return the student before its first step; ``width`` is that of the targets."""
        r = self.recipe
        if r.student == "static":
            from hengyu.tools.distillation.static import Bags, StaticStudent, frequent

            grams = frequent(self.lines.texts[self.lines.held :], r.grams, r.seen, r.longest)
            self.say.say(f"{len(grams):,} n-grams of at most {r.longest} characters")
            bags = Bags(grams, self.lines.texts, r.longest)
            return StaticStudent(grams, bags, r.width, r.bits, r.longest, _seed(r.seed))
        return self._bert(width if r.head else 0)

    def _bert(self, out: int) -> Any:
        import torch
        import transformers

        from hengyu.encoders.pipeline import load_tokenizer
        from hengyu.tools.distillation.bert import BertStudent, refuse_unlike
        from hengyu.tools.pretraining.recipe import Pretraining
        from hengyu.tools.pretraining.vocabulary import make_tokenizer, tokenize, vocabulary

        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        r = self.recipe
        torch.manual_seed(_seed(r.seed))
        length = r.length
        if self.start:
            encoder = _opened(self.start)
            length = min(length, encoder.folder.max_length)
            tokenizer, bert = load_tokenizer(encoder.folder), encoder.library(torch.float32)[0].auto_model
            refuse_unlike(bert.config, encoder.folder.where)
        else:
            shape = Pretraining(layers=r.layers, width=r.width, heads=r.heads, length=r.length)
            tokenizer = make_tokenizer(vocabulary(self.lines.texts[self.lines.held :], shape), self.part, r.length)
            bert = transformers.BertModel(
                transformers.BertConfig(
                    vocab_size=len(tokenizer),
                    hidden_size=r.width,
                    num_hidden_layers=r.layers,
                    num_attention_heads=r.heads,
                    intermediate_size=4 * r.width,
                    max_position_embeddings=r.length,
                ),
                add_pooling_layer=False,
            )
        bert.pooler = None  # no vector is read from it
        with self.say.stage("tokenise", len(self.lines.texts)) as tick:
            tokens = tokenize(tokenizer, self.lines.texts, length, tick)
        return BertStudent(bert.eval(), tokens, tokenizer, length, out)

    def _begin(self, student: Any, space: Space) -> Space:
        """Fit student and targets to each other on short lines; a training that goes on has done so."""
        from hengyu.tools.distillation.loop import encode_lines

        path = self.part / _SPACE
        if (self.part / CHECKPOINT).is_file() and path.is_file():
            return space
        if self.recipe.student == "bert":
            short = np.flatnonzero(student.lengths <= _SHORT)
            rows = short[short >= self.lines.held][:_BEGUN]
            if len(rows) < 2:
                raise HengyuError(
                    f"{len(rows)} lines of at most {_SHORT} tokens, but at least 2 are needed; give others"
                )
            own = encode_lines(student, rows, before=True)
            x = np.concatenate(
                list(teach(self.encoder, self.pooling, [self.lines.texts[i] for i in rows], self.store, Progress(None)))
            )
            if student.dense is not None:
                student.begin(*ridge(own, space(x)))
            else:
                space = turned(space, space(x), own)
                student.begin(None, own.mean(axis=0))
        save_space(path, space)
        return space


def _seed(seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"distillation {seed}".encode()).digest()[:4], "little")
