"""`geosr completion`."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print the script that completes commands and options in SHELL.

    \b
    eval "$(geosr completion bash)"            in ~/.bashrc
    eval "$(geosr completion zsh)"             in ~/.zshrc
    geosr completion fish | source             in ~/.config/fish/config.fish

    Nothing is written to a file.
    """
    from click.shell_completion import get_completion_class

    from geosr.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None  # click brings all three
    click.echo(kind(cli, {}, "geosr", "_GEOSR_COMPLETE").source())
