"""hengyu words: discovers the words of a corpus without a dictionary."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

__all__ = ["command"]

_LINES = 20_000  # in a part of the corpus


@click.command("words", context_settings={"show_default": True})
@click.argument("corpus", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="CORPUS...")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The list to write.")
@click.option("--min-count", type=click.IntRange(min=1), default=32, help="How often a piece and a word must occur.")
@click.option(
    "--cohesion",
    type=(float, float, float),
    default=(2.0, 4.0, 6.0),
    metavar="C2 C3 C4",
    help="Least mutual information of pieces of 2, 3 and 4 characters, in nats.",
)
@click.option(
    "--most",
    type=click.IntRange(min=1024),
    default=1 << 23,
    help="Pieces of each length held in memory; beyond that, the rarest are dropped.",
)
@click.option("--quiet", is_flag=True, help="Do not show progress.")
def command(
    corpus: tuple[Path, ...],
    out: Path,
    min_count: int,
    cohesion: tuple[float, float, float],
    most: int,
    quiet: bool,
) -> None:
    """Discover the words of a corpus without a dictionary.

    The corpus is UTF-8 text, possibly .gz or .xz, read twice as a stream. Cohesive pieces are found by pointwise mutual
    information, the text is cut between them, and words that are not cohesive themselves are dropped (Su, kexue.fm 4256 and
    6920). FILE has one word per line, then a tab and its count, the most frequent first. In a suite the list serves
    bm25(grams=words, words="FILE") and tfidf likewise.
    """
    from rich.console import Console

    from hengyu.base.errors import HengyuError
    from hengyu.base.json_files import write_bytes
    from hengyu.base.progress import Progress
    from hengyu.base.text_lines import blocks
    from hengyu.numerics.words import discover_words

    progress = Progress(None if quiet else Console(stderr=True))

    def parts() -> Iterator[str]:
        size = sum(path.stat().st_size for path in corpus if path.is_file())
        with progress.stage("reading", size) as tick:
            read = 0  # bytes of the files before
            for path in corpus:
                done = 0
                for block in blocks(path, _LINES):
                    yield "\n".join(block.texts)
                    done = block.done
                    tick(read + done)
                read += done

    found = discover_words(parts, min_count=min_count, cohesion=cohesion, most=most)
    if not found.words:
        raise HengyuError(
            f"no word occurs {min_count} times among {found.characters:,} characters; give more text, or a smaller --min-count"
        )
    content = "".join(f"{word}\t{count}\n" for word, count in found.words.items())
    try:
        write_bytes(out, content.encode())
    except OSError as e:
        raise HengyuError(f"{out}: cannot be written ({e.strerror or e}); give another --out") from None
    click.echo(f"{out}: {len(found.words):,} words of {found.characters:,} characters")
    if found.lost:
        click.echo(f"memory was bounded: counts may be too low by up to {found.lost}; a larger --most is exact")
