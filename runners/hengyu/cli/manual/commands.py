"""The reference of the command line, from click's own description of every command."""

from __future__ import annotations

import click

from hengyu.base.escapes import markdown_row
from hengyu.cli import main
from hengyu.cli.manual.prose import prose

__all__ = ["cli_reference"]


def cli_reference() -> str:
    """Return every command with its subcommands, arguments and options as Markdown."""
    lines = ["# Command line", "", "Made from the commands themselves; `hengyu COMMAND --help` prints the same.", ""]
    lines += [
        "Exit codes: 0 done, 2 bad input (one sentence with file, key and remedy); others stand with their",
        "command.",
    ]
    return "\n".join([*lines, *_section(main, None, "hengyu", 2)]) + "\n"


def _section(command: click.Command, parent: click.Context | None, name: str, level: int) -> list[str]:
    """Return the lines of a command and of those below it."""
    context = click.Context(command, parent=parent, info_name=name)
    lines: list[str] = []
    if parent:
        usage = " ".join((context.command_path, *command.collect_usage_pieces(context)))
        lines = ["", f"{'#' * level} {context.command_path}", "", "```text", usage, "```", ""]
        lines += [prose((command.help or "").replace("\b\n", "")), ""]
        lines += _options(command, context)
    if isinstance(command, click.Group):
        for word in command.list_commands(context):
            below = command.get_command(context, word)
            if below:
                lines += _section(below, context, word, level + 1 if parent else level)
    return lines


def _options(command: click.Command, context: click.Context) -> list[str]:
    """Return the table of a command's options, as click writes them in its help."""
    told = [p.get_help_record(context) for p in command.get_params(context) if isinstance(p, click.Option)]
    rows = [(words, text) for words, text in (t for t in told if t) if "--help" not in words]
    if not rows:
        return []
    lines = ["| option | what it does |", "|---|---|"]
    # a table's cells end at any | that is not escaped, even in code
    return lines + [markdown_row((f"`{words}`".replace("|", r"\|"), prose(text))) for words, text in rows]
