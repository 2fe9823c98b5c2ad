"""A pretraining from corpus to folder: the work is done in a temporary folder, which is renamed when complete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hengyu.base.errors import HengyuError
from hengyu.base.json_files import read_json, write_bytes, write_json
from hengyu.base.progress import Progress, silent
from hengyu.base.version import __version__
from hengyu.storage.identity import digest
from hengyu.tools.pretraining.checkpoint import CHECKPOINT
from hengyu.tools.pretraining.corpus import Corpus, evaluation_sentences, read_corpus
from hengyu.tools.pretraining.recipe import Pretraining
from hengyu.tools.pretraining.work import PART, begun, refuse_foreign, refuse_other

__all__ = ["ABOUT", "Outcome", "pretrain"]

ABOUT = "pretraining.json"
_OTHERWISE = ("a pretraining", "another corpus, or other excluded tasks")


@dataclass(frozen=True)
class Outcome:
    """The result of a pretraining."""

    folder: Path
    new: bool  # False if it already existed
    about: dict[str, Any]  # pretraining.json


def pretrain(
    files: Sequence[Path],
    out: Path,
    recipe: Pretraining,
    *,
    exclude: Sequence[str] = (),
    data: Path | None = None,
    datasets: Sequence[Path] = (),
    dtype: str = "",
    threads: int = 1,
    device: str = "cpu",
    progress: Progress = silent,
) -> Outcome:
    """Pretrain an encoder on text files and write ``out``, a sentence-transformers folder; an interrupted one continues.

    Work in progress is in ``out`` + ".part". With the same files and recipe a finished folder is left unchanged. Raises
    `HengyuError` for unreadable files, too small a corpus, and folders with other content.
    """
    if out.name in ("", ".."):
        out = out.resolve()
    refuse_foreign(out, ABOUT)
    part = out.with_name(out.name + PART)
    unwanted, against = evaluation_sentences(exclude, data, datasets)
    corpus = read_corpus(files, held_out=recipe.held_out, seed=recipe.seed, unwanted=unwanted, against=against)
    goal = {"recipe": recipe.parameters(), "corpus": corpus.about()}
    read = sum(s.lines for s in corpus.sources)
    left = f", {corpus.excluded:,} excluded as evaluation sentences" if exclude else ""
    progress.say(f"{len(corpus.sources)} files, {read:,} lines{left}, {len(corpus.held):,} held out")
    if (out / ABOUT).is_file():
        about = read_json(out / ABOUT, dict[str, Any], "delete the folder, or give another --out")
        refuse_other(out, about, goal, *_OTHERWISE)
        (out / CHECKPOINT).unlink(missing_ok=True)
        return Outcome(out, False, about)
    if begun(part, ABOUT):
        begun_with = read_json(part / ABOUT, dict[str, Any], "delete the folder, or give another --out")
        refuse_other(part, begun_with, goal, *_OTHERWISE)
    else:
        write_json(part / ABOUT, {**goal, "goal": digest(goal)})
    about = _work(part, corpus, recipe, goal, dtype=dtype, threads=threads, device=device, say=progress)
    try:
        part.replace(out)
        (out / CHECKPOINT).unlink(missing_ok=True)
    except OSError as e:
        raise HengyuError(
            f"{out}: cannot be written ({e.strerror or e}); check it and run the same command again"
        ) from None
    return Outcome(out, True, about)


def _work(
    part: Path,
    corpus: Corpus,
    recipe: Pretraining,
    goal: dict[str, Any],
    *,
    dtype: str,
    threads: int,
    device: str,
    say: Progress,
) -> dict[str, Any]:
    """Train in ``part`` and write the finished folder there; returns pretraining.json."""
    import transformers

    from hengyu.tools.pretraining.architectures import body_of
    from hengyu.tools.pretraining.card import card
    from hengyu.tools.pretraining.folder import write_model
    from hengyu.tools.pretraining.loop import make_model, reproducible, train
    from hengyu.tools.pretraining.vocabulary import make_tokenizer, tokenize, vocabulary

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    tokenizer = make_tokenizer(vocabulary(corpus.lines, recipe), part, recipe.length)
    with say.stage("tokenise", len(corpus.lines)) as tick:
        tokens = tokenize(tokenizer, corpus.lines, recipe.length, tick)
    held = tokenize(tokenizer, corpus.held, recipe.length)
    with reproducible(threads):
        try:
            model = make_model(recipe, len(tokenizer), device)
        except (RuntimeError, AssertionError) as e:
            raise HengyuError(f"device '{device}' cannot be used here ({str(e)[:80]}); use cpu, or remove it") from None
        size = sum(p.numel() for p in body_of(model).parameters())
        epoch = int(tokens.lengths.sum())
        say.say(f"{len(tokenizer):,} tokens in the vocabulary, {size:,} parameters, {epoch:,} tokens per epoch")
        trained = train(
            model, tokens, held, recipe, part / CHECKPOINT, dtype=dtype, threads=threads, progress=say
        )  # fmt: skip
        size = sum(p.numel() for p in body_of(model).parameters())  # more where shared blocks were copied apart
    about = {
        **goal,
        "goal": digest(goal),
        "hengyu": __version__,
        "vocabulary": len(tokenizer),
        "parameters": size,
        "held_out_lines": len(corpus.held),
        "epoch_tokens": epoch,
        "unknown_share": round(tokens.unknown / max(1, tokens.inside), 8),
        "tokens": trained.tokens,
        "steps": trained.step,
        "curve": trained.curve,
        "legs": trained.legs,
    }
    write_model(part, model, tokenizer, recipe)
    write_bytes(part / "README.md", card(about, trained.seconds).encode())
    write_json(part / ABOUT, about)
    return about
