"""The command line: one file a command in commands/, found by its file name; heavy imports happen inside commands."""

from __future__ import annotations

import errno
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

__all__ = ["main"]

_INTERRUPTED = 130
_RENAMED = {"take": "export-model"}  # the name in version 0.1 -> the name now
_WRONG = 2
_BUG = 70  # EX_SOFTWARE of sysexits.h


class _Commands(click.Group):
    """Finds the commands of this package; turns a `HengyuError` into sentences on stderr and exit code 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted(m.name.replace("_", "-") for m in iter_modules(commands.__path__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name; one that was renamed says so and runs."""
        if cmd_name in _RENAMED:
            click.echo(f"note: 'hengyu {cmd_name}' is now 'hengyu {_RENAMED[cmd_name]}'", err=True)
            cmd_name = _RENAMED[cmd_name]
        if cmd_name not in self.list_commands(ctx):
            raise click.UsageError(
                f"no command is called '{cmd_name}'{did_you_mean(cmd_name, self.list_commands(ctx))}"
            )
        command: click.Command = import_module(f"{commands.__name__}.{cmd_name.replace('-', '_')}").command
        return command

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
            _say("interrupted; what was finished is kept, the same command goes on from there")
            ctx.exit(_INTERRUPTED)
        except Exception as e:
            ctx.exit(_explain(e))

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program: what its streams cannot take is a sentence, too."""
        _open_streams()
        try:
            return super().main(*args, **kwargs)
        except SystemExit as e:
            code = _flush()
            raise SystemExit(code if code is not None and not e.code else e.code) from None
        except OSError as e:  # the help text does not fit on the disk
            raise SystemExit(_explain(e)) from None


def _explain(error: Exception) -> int:
    """Say in sentences what went wrong, and return the exit code; what nobody foresaw is called a bug."""
    if os.environ.get("HENGYU_DEBUG"):
        with suppress(OSError):
            traceback.print_exception(error)
    if isinstance(error, HengyuError):
        for problem in error.problems:
            _say(f"error: {problem}")
        return _WRONG
    if isinstance(error, BrokenPipeError):
        # the reader went away (`| head`): nothing is wrong, and nothing more can be said
        _silence()
        return 0
    if isinstance(error, MemoryError):
        _say("error: the memory does not suffice; give less data at once, or use a machine with more")
        return _WRONG
    if isinstance(error, OSError):
        if error.filename is not None:
            what = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(error.filename)
            _say(f"error: {what}: {error.strerror or error}; check the path, its permissions and the room on the disk")
            return _WRONG
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF, errno.EFBIG):
            _silence()
            _say(f"error: the output cannot be written ({error.strerror}); make room, or send it elsewhere")
            return _WRONG
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" in {Path(f.filename).name}, line {f.lineno}" for f in place)
    _say(
        f"error: this is a bug in Hengyu {__version__}: {type(error).__name__}: {first_line(error)}{where}; please report it "
        "as an issue of the repository, with the command and the traceback that it prints with HENGYU_DEBUG=1"
    )
    return _BUG


def _say(sentence: str) -> None:
    with suppress(OSError):  # stderr may be the full disk
        click.echo(plain(sentence), err=True)


class _Unheard(io.TextIOWrapper):
    """A stderr that nobody can read, on a full disk, is no reason to end a run: what is said there is lost, and no more."""

    def write(self, text: str, /) -> int:
        with suppress(OSError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def _open_streams() -> None:
    """Fill the places of closed streams, so that no file that is opened takes one, and print whatever a name holds."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # not writable, so that what is printed there is an error and not lost
            os.open(os.devnull, os.O_RDONLY if number < 2 else os.O_WRONLY)
            if number == 1:
                sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is sys.__stderr__ and isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = _Unheard(sys.stderr.buffer, sys.stderr.encoding, sys.stderr.errors, line_buffering=True)
    for stream in (sys.stdout, sys.stderr):
        # a path may hold bytes that are no UTF-8
        if (change := getattr(stream, "reconfigure", None)) is not None:
            change(errors="backslashreplace")


def _flush() -> int | None:
    """Write what is still to be written; returns an exit code where it cannot be."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as e:
        return _explain(e)
    return None


def _silence() -> None:
    """Send what stdout still holds nowhere: it could not be written, and must not fail again at the end."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hengyu")
def main() -> None:
    """Hengyu (衡语) weighs Chinese sentence embeddings.

    Every sentence is encoded once; every number comes with its interval, its ceiling and what it was fitted on.
    """
