"""`geosr`: the group, its settings from `.env`, its exit codes."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from geosr import __version__
from geosr.cli.console import SETTINGS, full, note, plain, say
from geosr.cli.settings import COMMANDS, read_env
from geosr.errors import GeosrError, StoppedError
from geosr.inference.heap import keep_freed
from geosr.raster.publish import FULL

_NOWHERE = "/proc"  # takes no files, so names that are relative to nothing fail
EPILOG = """\b
Exit codes: 0 all done or done already; 1 internal error; 2 usage; 3 some scenes failed;
4 all failed; 5 stopped by the environment (disk full, GPU lost, output not writable); 6 weights;
11 another run does the same; 129/130/143 ended by SIGHUP, Ctrl-C, SIGTERM. New codes may come:
treat any unknown non-zero code as a failure."""


class Cli(click.Group):
    """Loads a command's module when it is needed, and turns known errors into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"geosr.cli.{name}")
        return module.command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = get_close_matches(args[0], COMMANDS, 1)
            if near:
                raise click.UsageError(f"{error.message} Did you mean '{near[0]}'?") from None
            raise

    def invoke(self, ctx: click.Context) -> Any:
        with exit_codes(ctx):
            return super().invoke(ctx)


@contextmanager
def exit_codes(ctx: click.Context) -> Iterator[None]:
    """Turn errors with a name into a line on stderr and an exit code."""
    try:
        yield
    except GeosrError as error:
        _tell(str(error), error.exit_code)
        ctx.exit(error.exit_code)
    except click.ClickException as error:
        if isinstance(error, click.BadParameter):
            error.message += _written_where(ctx, error)  # type: ignore[misc]
        lines = map(plain, error.message.splitlines())
        error.message = "\n".join(lines)  # type: ignore[misc]  # as it is shown later
        note(logging.ERROR, error.format_message(), code=error.exit_code)
        raise
    except BrokenPipeError:
        raise
    except OSError as error:
        stopped = full(error) if error.errno in FULL and not error.filename else _of(error)
        logging.getLogger("geosr").debug("stopped", exc_info=True)
        _tell(str(stopped), stopped.exit_code)
        ctx.exit(stopped.exit_code)
    except KeyboardInterrupt:
        _tell("interrupted", 130)
        ctx.exit(130)
    except _Ended as ended:
        _tell(f"ended by {signal.Signals(ended.number).name}", 128 + ended.number)
        raise


def _of(error: OSError) -> StoppedError:
    """What to say of a failure of the machine that no part of geosr expected."""
    where = f"{error.filename}: " if error.filename else ""
    return StoppedError(
        f"{where}{error.strerror or error}. Look at the disk, the limits (ulimit -a) and the "
        "permissions; -vv tells more."
    )


def _written_where(ctx: click.Context, error: click.BadParameter) -> str:
    """The line of the settings file that a bad value stands in; nothing where it came otherwise."""
    path, settings = ctx.meta.get(SETTINGS, (None, {}))
    param, inner = error.param, error.ctx
    if param is None or inner is None or param.name is None:
        return ""
    if inner.get_parameter_source(param.name) is not ParameterSource.DEFAULT_MAP:
        return ""
    names = [param.envvar] if isinstance(param.envvar, str) else param.envvar or []
    key = next((name for name in names if name in settings), None)
    return f" ({path}: {key}={settings[key]})" if key else ""


def _tell(text: str, code: int) -> None:
    """Why the program ends."""
    say(f"geosr: {text}")
    note(logging.ERROR, text, code=code)


@click.group(cls=Cli, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="geosr")
@click.option("--env-file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              envvar="GEOSR_ENV_FILE", help="Settings file instead of ./.env.")  # fmt: skip
@click.pass_context
def cli(ctx: click.Context, env_file: Path | None) -> None:
    """Super-resolve georeferenced rasters.

    \b
    geosr superres SCENES OUT                  all Sentinel-2 bands at 10 m
    geosr superres product.SAFE.zip out.tif    one scene, one file
    geosr eval --model dsen2 --data SCENES     scores beside bicubic

    Every option can also be set as GEOSR_<OPTION> in the environment or in ./.env
    (command line, then environment, then .env, then default).
    """
    path = env_file or Path(".env")
    settings = read_env(path)
    ctx.meta[SETTINGS] = path, settings
    ctx.default_map = {name: defaults(ctx, name, settings) for name in COMMANDS if settings}


def defaults(ctx: click.Context, name: str, settings: dict[str, str]) -> dict[str, Any]:
    """A command's defaults from the settings file, by parameter name."""
    command = cli.get_command(ctx, name)
    found: dict[str, Any] = {}
    for param in command.params if command else ():
        names = [param.envvar] if isinstance(param.envvar, str) else param.envvar or []
        value = next((settings[key] for key in names if key in settings), None)
        if value is not None and param.name:
            several = param.nargs != 1 or getattr(param, "multiple", False)
            found[param.name] = value.replace(",", " ").split() if several else value
    return found


class _Ended(SystemExit):
    """The end by a signal, on its way out through every clean-up."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


def handle_signals() -> None:
    """Clean up before the end by a signal; those that are ignored (nohup) stay so."""
    for name in ("SIGTERM", "SIGHUP", "SIGINT"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _unwind)


def _unwind(number: int, _frame: object) -> None:
    """Begin to end; nothing interrupts that but a second Ctrl-C, which leaves at once."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGINT, _leave)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise _Ended(number)


def _leave(number: int, _frame: object) -> None:
    os._exit(128 + number)


def _open_standard_files() -> None:
    """Give closed stdin, stdout and stderr to nobody, before a raster gets one of their numbers.

    Daemons and some crons close them; what libraries print would then go into an output.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            nobody = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115 - to the end
            setattr(sys, name, nobody)


def _leave_removed_folder() -> None:
    """Work elsewhere where the current folder is gone, which libraries do not expect."""
    try:
        Path.cwd()
    except FileNotFoundError:
        with suppress(OSError):
            os.chdir(_NOWHERE)


def _let_threads_sleep() -> None:
    """Threads of PyTorch that wait for others do so asleep; read when it is imported.

    Else they spin for milliseconds, which beside another program takes the others' time: 1000 turns
    are some microseconds.
    """
    if not any(name in os.environ for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")):
        os.environ["GOMP_SPINCOUNT"] = "1000"


def main() -> None:
    """Entry point of the `geosr` program."""
    _leave_removed_folder()
    _open_standard_files()
    handle_signals()
    keep_freed()
    _let_threads_sleep()
    try:
        cli.main(prog_name="geosr")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
