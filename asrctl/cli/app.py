"""The `asrctl` program: every command, and what happens when one goes wrong."""

from __future__ import annotations

import typer

from asrctl import __version__

app = typer.Typer(
    name="asrctl",
    help="Fine-tune CTC speech recognisers: vocab, prepare, train, eval, export.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"asrctl {__version__}")
        raise typer.Exit()


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main() -> None:
    app()
