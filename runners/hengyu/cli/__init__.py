"""The command line: one file per command in commands/, found by its name; heavy imports happen inside commands."""

from __future__ import annotations

import atexit
import errno
import gc
import io
import os
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import click

from hengyu.base.errors import HengyuError, did_you_mean, first_line
from hengyu.base.escapes import plain
from hengyu.base.version import __version__
from hengyu.cli import commands
from hengyu.cli.torchrun import refuse_in_torchrun

__all__ = ["main"]

_GROUPS = {
    "Evaluate": ("run", "report", "compare", "stand", "export", "size", "export-model", "reference", "tune"),
    "Data": ("list", "card", "validate", "fetch", "audit"),
    "Regression gate (CI)": ("gate", "baseline"),
    "Models and vectors": ("encode", "bench-encode", "selfcheck", "cloud", "words", "pretrain", "distill", "store"),
    "Random projections": ("distort", "theory"),
}
_OTHERS = "More"
_INTERRUPTED = 130
_RENAMED = {"take": "export-model"}  # the name in version 0.1 -> the name now
_WRONG = 2
_BUG = 70  # EX_SOFTWARE of sysexits.h


class _Commands(click.Group):
    """Finds the commands of this package, and prints a `HengyuError` as sentences on stderr with exit code 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted(m.name.replace("_", "-") for m in iter_modules(commands.__path__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name; a renamed one prints a note and runs."""
        if cmd_name in _RENAMED:
            click.echo(f"note: 'hengyu {cmd_name}' is now 'hengyu {_RENAMED[cmd_name]}'", err=True)
            cmd_name = _RENAMED[cmd_name]
        if cmd_name not in self.list_commands(ctx):
            raise click.UsageError(f"there is no command '{cmd_name}'{did_you_mean(cmd_name, self.list_commands(ctx))}")
        command: click.Command = import_module(f"{commands.__name__}.{cmd_name.replace('-', '_')}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command and its words; raises `HengyuError` where torchrun has started one that it has no use for."""
        found = super().resolve_command(ctx, args)
        refuse_in_torchrun(found[0] or "")
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by what they are for, each with its whole first sentence."""
        known = self.list_commands(ctx)
        grouped = {name for names in _GROUPS.values() for name in names}
        groups = {**_GROUPS, _OTHERS: tuple(name for name in known if name not in grouped)}
        for title, names in groups.items():
            rows = [(name, self._first_sentence(ctx, name)) for name in names if name in known]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows, col_max=14)

    def _first_sentence(self, ctx: click.Context, name: str) -> str:
        command = self.get_command(ctx, name)
        return " ".join((command.help or "").split("\n\n")[0].split()) if command else ""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except click.ClickException as e:
            vars(e)["message"] = plain(e.message, "\n")
            raise
        except (click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            _say("interrupted; what was finished is kept, the same command continues from there")
            ctx.exit(_INTERRUPTED)
        except Exception as e:
            ctx.exit(_explain(e))

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program; output errors are reported as sentences, too."""
        _open_streams()
        atexit.register(
            gc.freeze
        )  # the end of the program does not wait for a search for cycles among what it has loaded
        try:
            return super().main(*args, **kwargs)
        except SystemExit as e:
            code = _flush()
            raise SystemExit(code if code is not None and not e.code else e.code) from None
        except OSError as e:  # the help text cannot be written
            raise SystemExit(_explain(e)) from None


def _explain(error: Exception) -> int:
    """Print errors as sentences and return the exit code; unexpected ones are reported as bugs."""
    if os.environ.get("HENGYU_DEBUG"):
        with suppress(OSError):
            traceback.print_exception(error)
    if isinstance(error, HengyuError):
        for problem in error.problems:
            _say(f"error: {problem}")
        return _WRONG
    if isinstance(error, BrokenPipeError):
        # the reader has gone (`| head`): not an error, and nothing more can be printed
        _silence()
        return 0
    if isinstance(error, MemoryError):
        _say("error: out of memory; use less data at once, or a machine with more memory")
        return _WRONG
    if isinstance(error, OSError):
        if error.filename is not None:
            what = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(error.filename)
            _say(f"error: {what}: {error.strerror or error}; check the path, its permissions and the free disk space")
            return _WRONG
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF, errno.EFBIG):
            _silence()
            _say(f"error: the output cannot be written ({error.strerror}); free some space, or write it elsewhere")
            return _WRONG
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" in {Path(f.filename).name}, line {f.lineno}" for f in place)
    _say(
        f"error: this is a bug in Hengyu {__version__}: {type(error).__name__}: {first_line(error)}{where}; please report it "
        "as an issue of the repository, with the command and the traceback that it prints with HENGYU_DEBUG=1"
    )
    return _BUG


def _say(sentence: str) -> None:
    with suppress(OSError):  # stderr may be on the full disk
        click.echo(plain(sentence), err=True)


class _Unheard(io.TextIOWrapper):
    """A stderr that cannot be written must not end a run: only what is printed there is lost."""

    def write(self, text: str, /) -> int:
        with suppress(OSError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def _open_streams() -> None:
    """Reopen closed streams, so that no other file gets their numbers, and make any name printable."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # read-only, so that printing there is an error instead of being lost
            os.open(os.devnull, os.O_RDONLY if number < 2 else os.O_WRONLY)
            if number == 1:
                sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is sys.__stderr__ and isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = _Unheard(sys.stderr.buffer, sys.stderr.encoding, sys.stderr.errors, line_buffering=True)
    for stream in (sys.stdout, sys.stderr):
        # a path may contain bytes that are not UTF-8
        if (change := getattr(stream, "reconfigure", None)) is not None:
            change(errors="backslashreplace")


def _flush() -> int | None:
    """Flush the output; returns an exit code if it cannot be written."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as e:
        return _explain(e)
    return None


def _silence() -> None:
    """Discard what stdout still holds: it could not be written, and must not fail again at exit."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hengyu")
def main() -> None:
    """Hengyu (衡语): a benchmark for Chinese sentence embeddings.

    Every sentence is encoded once. Every score has a 95 % confidence interval, a ceiling and the data it was fitted on.
    """
