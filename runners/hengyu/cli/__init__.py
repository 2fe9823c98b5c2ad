"""The command line: one file a command in commands/, found by its file name; heavy imports happen inside commands."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pkgutil import iter_modules

import click

from hengyu.base.errors import HengyuError, did_you_mean
from hengyu.base.escapes import plain
from hengyu.base.version import __version__
from hengyu.cli import commands

__all__ = ["main"]

_INTERRUPTED = 130
_RENAMED = {"take": "export-model"}  # the name in version 0.1 -> the name now


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
        except HengyuError as e:
            for problem in e.problems:
                click.echo(f"error: {plain(problem)}", err=True)
            ctx.exit(2)
        except BrokenPipeError:
            # the reader went away (`| head`): nothing is wrong, and nothing more can be said
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
        except KeyboardInterrupt:
            click.echo("interrupted; what was finished is kept, the same command goes on from there", err=True)
            ctx.exit(_INTERRUPTED)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hengyu")
def main() -> None:
    """Hengyu (衡语) weighs Chinese sentence embeddings.

    Every sentence is encoded once; every number comes with its interval, its ceiling and what it was fitted on.
    """
