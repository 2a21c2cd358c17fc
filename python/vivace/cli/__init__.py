"""The `vivace` command. Torch and everything else heavy is imported inside the commands."""

import json
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import vivace
from vivace.cli import audioldm, bark, dac

__all__ = ["app", "main"]


class _TwoWords(TyperGroup):
    """Commands may have names of two words beside one that takes free text after the first word."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The longest name that the arguments begin with."""
        both = " ".join(args[:2])
        if self.get_command(ctx, both) is not None:
            args = [both, *args[2:]]
        return super().resolve_command(ctx, args)


# Without rich, help takes half the time and reads the same in a pipe.
app = typer.Typer(
    name="vivace",
    cls=_TwoWords,
    help="Neural audio codecs and generation from the command line.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(dac.app, name="dac")
app.command("bark")(bark.speak)
app.command("bark voices")(bark.voices)
app.command("audioldm")(audioldm.generate)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vivace {vivace.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Neural audio codecs and generation from the command line."""


@app.command()
def env(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show versions, native modules, instruction set, threads and GPUs."""
    values = vivace.env()
    if as_json:
        typer.echo(json.dumps(values, indent=2))
        return
    width = max(map(len, values))
    for name, value in values.items():
        typer.echo(f"{name:<{width}}  {_one_line(value)}")


@app.command()
def explain() -> None:
    """Show which implementation runs each op on this machine, and why."""
    typer.echo(vivace.explain())


def _one_line(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {item}" for key, item in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)


def main() -> None:
    """Entry point of the `vivace` script."""
    app(prog_name="vivace")
