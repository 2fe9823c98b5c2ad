"""hengyu store: maintains the stores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hengyu.cli import options

if TYPE_CHECKING:
    from hengyu.storage.fits import FitStore
    from hengyu.storage.remote_check import RemoteDamage
    from hengyu.storage.tuned import TunedStore
    from hengyu.storage.vectors import VectorStore

__all__ = ["command"]


@click.group("store")
def command() -> None:
    """Inspect, verify, repair and clean up the stores."""


@command.command("info")
def info() -> None:
    """Show the content of the stores."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from hengyu.base.escapes import plain
    from hengyu.storage.fits import FitStore
    from hengyu.storage.tuned import TunedStore
    from hengyu.storage.vectors import VectorStore

    store = VectorStore.default()
    rows = store.info()
    table = Table(title=Text(plain(str(store.root))), title_justify="left")
    for name in ("space", "encoder", "pooling", "max length", "dtype", "prompt", "segments", "vectors", "MB"):
        table.add_column(name, justify="right" if name in ("max length", "segments", "vectors", "MB") else "left")
    for row in rows:
        row["dtype"] = " ".join(str(row[k]) for k in ("dtype", "backend") if k in row) or "?"
        about = [row.get(k, "?") for k in ("fingerprint", "pooling", "max_length", "dtype", "prompt")]
        sizes = [row["segments"], row["vectors"], f"{row['bytes'] / 1e6:.1f}"]
        table.add_row(*(Text(plain(str(word))) for word in (row["space"][:8], *about, *sizes)))
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = 200
    console.print(table if rows else plain(f"{store.root}: empty"))
    console.print(f"{sum(r['vectors'] for r in rows)} vectors, {sum(r['bytes'] for r in rows) / 1e6:.1f} MB")
    files = FitStore.default().files()
    for one in TunedStore.default().info():
        console.print(
            plain(
                f"fine-tuned {one['folder'][:8]}: {one['step']}, {one['pooling']}, of {one['encoder']}, {one['bytes'] / 1e6:.1f} MB"
            ),
            soft_wrap=True,
        )
    if files:
        console.print(f"{len(files)} trained methods, {sum(f.stat().st_size for f in files) / 1e6:.1f} MB")


@command.command("verify")
@options.store
def verify(store: str | None) -> None:
    """Check stored files and runs against their checksums.

    Exit code 1 if a file has changed or is missing, or a run has no checksums.

    The files of a remote store are checked too: all of them are fetched for it, one part at a time.
    """
    from hengyu.base.escapes import plain

    vectors, fits, tuned = kept = _kept(store)
    found = vectors.verify() + fits.verify() + tuned.verify()
    runs = _damaged_runs()
    for damage in found:
        click.echo(plain(f"{damage.path}: {damage.reason}"), err=True)
    lost = _lost(*kept)
    for one in lost:
        click.echo(plain(f"{one.url}: {one.reason}"), err=True)
    for path, reason in ((p, r) for own in runs.values() for p, r in own.items()):
        click.echo(plain(f"{path}: {reason}"), err=True)
    number = len(found) + len(lost) + sum(map(len, runs.values()))
    click.echo(
        f"{vectors.root.parent}: {number} damaged files" + ("; 'hengyu store repair' sets them aside" if number else "")
    )
    if number:
        raise SystemExit(1)


@command.command("repair")
@options.store
def repair(store: str | None) -> None:
    """Delete damaged files; the next run computes them again."""
    from hengyu.base.escapes import plain

    vectors, fits, tuned = kept = _kept(store)
    for damage in vectors.repair():
        click.echo(plain(f"deleted {damage.path.parent}: {damage.path.name} {damage.reason}"))
    for damage in fits.repair():
        click.echo(plain(f"deleted {damage.path}: {damage.reason}"))
    for damage in tuned.repair():
        click.echo(plain(f"deleted {damage.path.parent}: {damage.path.name} {damage.reason}"))
    for one in _lost(*kept):
        one.delete()
        click.echo(plain(f"deleted {one.url}: {one.reason}"))
    for folder, paths in _damaged_runs().items():
        for path, reason in paths.items():
            if path.parent == folder:
                click.echo(plain(f"kept {folder}: {path.name} {reason}; run the suite again to rewrite it"))
            else:
                path.unlink(missing_ok=True)
                click.echo(plain(f"deleted {path}: {reason}"))


def _kept(place: str | None) -> tuple[VectorStore, FitStore, TunedStore]:
    """Return the stores of a folder or URL, by default those in the user's cache."""
    from hengyu.storage.fits import FitStore
    from hengyu.storage.tuned import TunedStore
    from hengyu.storage.vectors import VectorStore

    vectors = VectorStore.at(place)
    return vectors, FitStore.at(place), TunedStore.next_to(vectors)


def _lost(vectors: VectorStore, fits: FitStore, tuned: TunedStore) -> list[RemoteDamage]:
    """Return what is damaged in the remote folder, if the stores mirror one."""
    from hengyu.storage.remote_check import damaged_elsewhere

    return list(damaged_elsewhere(vectors, fits, tuned, vectors.root))


def _damaged_runs() -> dict[Path, dict[Path, str]]:
    """Return the unreliable files of each run, with reasons: header, numbers or labels, observations, costs, checksums."""
    from hengyu.storage.records import list_runs
    from hengyu.storage.records.checksums import what_broke
    from hengyu.storage.records.costs import damaged_costs
    from hengyu.storage.records.observations import damaged_in

    changed = "has changed since it was written"
    found = {
        folder: what_broke(folder) | dict.fromkeys(damaged_in(folder) + damaged_costs(folder), changed)
        for folder in list_runs()
    }
    return {folder: paths for folder, paths in found.items() if paths}


@command.command("gc")
@click.option("--days", default=90.0, show_default=True, help="Delete what was not used for this many days.")
def gc(days: float) -> None:
    """Delete unused vectors, fits and fine-tuned encoders.

    Leftovers of killed runs are deleted, too. What a running process uses is kept, so this is safe at any time.
    """
    from hengyu.storage.fits import FitStore
    from hengyu.storage.tuned import TunedStore
    from hengyu.storage.vectors import VectorStore

    spared: list[Path] = []
    freed = sum(kept.default().gc(days, spared.append) for kept in (VectorStore, FitStore, TunedStore))
    in_use = f"; {len(spared)} in use by a running process were kept" if spared else ""
    click.echo(f"{freed / 1e6:.1f} MB freed{in_use}")
