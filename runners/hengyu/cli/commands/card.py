"""hengyu card: writes a card for a file of sentence pairs."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command("card")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--columns", metavar="A,B,LABEL", help="Columns of the two sentences and the label: names, or positions from 0."
)
@click.option("--header/--no-header", default=None, help="Whether line 1 is a header.")
@click.option("--separator", default="", help=r"Field separator, like ';', '||' or '\t'.")
@click.option(
    "--quoting", type=click.Choice(["csv", "none"]), help="Whether quotes are CSV quoting, or part of the text (none)."
)
@click.option("--encoding", default="", metavar="NAME", help="utf-8, gb18030, big5, utf-16, ...")
@click.option("--labels", type=click.Choice(["binary", "graded"]), help="Whether labels are 0 and 1, or graded.")
@click.option("--scale", type=float, nargs=2, metavar="LOW HIGH", help="The lowest and the highest label.")
@click.option("--map", "mapping", default="", metavar="WORD=LABEL,...", help="Values of the labels in the file.")
@click.option("--name", default="", help="Name of the card; by default the file's.")
@click.option("--out", metavar="PATH", help="Where to write the card, - for the terminal; by default next to the file.")
@click.option("--force", is_flag=True, help="Replace an existing card.")
def command(
    file: Path,
    columns: str | None,
    header: bool | None,
    separator: str,
    quoting: str | None,
    encoding: str,
    labels: str | None,
    scale: tuple[float, float] | None,
    mapping: str,
    name: str,
    out: str | None,
    force: bool,
) -> None:
    """Write a card for a FILE of sentence pairs, or for a folder with corpus, queries and qrels as BEIR and mteb lay them out.

    Format, separator, quoting, encoding, header, columns and labels are guessed from the whole file and shown; options
    override a guess. Then the pairs are read with the card, and mistakes are reported. Exit code 0 or 2.
    """
    import os

    from hengyu.base.errors import HengyuError, did_you_mean
    from hengyu.cards import card_from, free_name, load_card
    from hengyu.cards.beir import folder_card
    from hengyu.cards.content import CODECS
    from hengyu.cards.data import load_pairs
    from hengyu.cards.guess import Wishes, card_place, guess
    from hengyu.cli.pairs import describe_collection, describe_guess, describe_pairs

    if encoding and encoding.lower() not in CODECS:
        raise HengyuError(f"--encoding {encoding}: no such encoding{did_you_mean(encoding.lower(), CODECS)}")
    if '"' in separator or "\n" in separator:
        raise HengyuError("--separator: must contain neither quotes nor line ends")
    if scale and not scale[0] < scale[1]:
        raise HengyuError(f"--scale {scale[0]:g} {scale[1]:g}: give the lowest label first, then the highest")
    if file.is_dir():
        text = folder_card(file, name)
        place = file / "card.toml" if out in (None, "-") else Path(str(out))
        write_card(text, place, out=out, force=force)
        from_folder = card_from(text, place) if out == "-" else load_card(place)
        for line in describe_collection(from_folder, file):
            click.echo(line, err=out == "-")
        return
    found = guess(
        file,
        Wishes(
            columns=tuple(c.strip() for c in columns.split(",")) if columns else (),
            header=header,
            separator={r"\t": "\t", "tab": "\t", r"\x01": "\x01"}.get(separator, separator),
            encoding=encoding.lower(),
            quoting=quoting or "",
            kind=labels or "",
            scale=scale,
            label_map=_mapping(mapping),
        ),
    )
    text = found.toml(name or free_name(file))
    place = card_place(file) if out in (None, "-") else Path(str(out))
    card = card_from(text, place)
    for line in describe_guess(found):
        click.echo(line, err=out == "-")
    write_card(text, place, out=out, force=force)
    if out != "-":
        card = load_card(place)
    away = os.path.realpath(place.parent) != os.path.realpath(file.parent)
    pairs = load_pairs(card, "test", file.parent)
    for line in describe_pairs(pairs):
        click.echo(line, err=out == "-")
    if out != "-":
        data = f" --data {file.parent}" if away else ""
        click.echo(f"evaluate on it: hengyu run smoke --datasets {place.parent} --task {card.name}:test{data}")


def write_card(text: str, place: Path, *, out: str | None, force: bool) -> None:
    """Write a card, or print it where ``out`` is -; raises `HengyuError` where there is one already."""
    from hengyu.base.errors import HengyuError
    from hengyu.base.json_files import write_bytes

    if out == "-":
        click.echo(text, nl=False)
        return
    if place.exists() and not force:
        raise HengyuError(f"{place}: already exists; --force replaces it, --out PATH writes another file")
    try:
        write_bytes(place, text.encode("utf-8"))
    except OSError as e:
        raise HengyuError(
            f"{place}: cannot be written ({e.strerror}); give another place with --out, or - for the terminal"
        ) from None
    click.echo(f"card: {place}")


def _mapping(given: str) -> tuple[tuple[str, float], ...]:
    """Return words and their labels from ``entailment=1,neutral=0``."""
    from hengyu.base.errors import HengyuError

    found = []
    for part in filter(None, given.split(",")):
        word, _, value = part.rpartition("=")
        try:
            found.append((word.strip(), float(value)))
        except ValueError:
            word = ""
        if not word.strip():
            raise HengyuError(f"--map {given}: write each label of the file and its value, like same=1,different=0")
    return tuple(found)
